"""Formulas as MathML: what browsers are given, and what is refused with a reason."""

from __future__ import annotations

import re

import pytest
from markdown import markdown

from engine.errors import TemplateError
from engine.report.mathml import LONGEST, mathml


def inner(tex: str, display: bool = False) -> str:
    """The MathML of a formula with its signs as they are, without the outermost elements."""
    found = re.fullmatch(r"<math [^<>]*><mrow>(.*)</mrow></math>", mathml(tex, display))
    assert found
    return re.sub(r"&#x([0-9A-F]+);", lambda m: chr(int(m[1], 16)), found[1])


@pytest.mark.parametrize(
    ("tex", "written"),
    [
        ("x_{i}", "<msub><mi>x</mi><mrow><mi>i</mi></mrow></msub>"),
        ("a*b", "<mi>a</mi><mo>*</mo><mi>b</mi>"),
        ("\\mathcal{L}", "<mi>ℒ</mi>"),
        ("\\mathbf{xy}", "<mrow><mi>𝐱</mi><mi>𝐲</mi></mrow>"),
        ("\\boldsymbol{\\theta}", "<mrow><mi>𝜽</mi></mrow>"),
        ("\\mathrm{KL}", '<mrow><mi mathvariant="normal">KL</mi></mrow>'),
        ("x \\sim p", "<mi>x</mi><mo>∼</mo><mi>p</mi>"),
        ("\\operatorname{softmax}", "<mi>softmax</mi>"),
        ("\\hat{x}", '<mover accent="true"><mrow><mi>x</mi></mrow><mo>^</mo></mover>'),
        ("\\frac{{a}}{b}", "<mfrac><mrow><mrow><mi>a</mi></mrow></mrow><mrow><mi>b</mi></mrow></mfrac>"),
        ("\\begin{equation} a \\end{equation}", "<mi>a</mi>"),
        ("a < b", "<mi>a</mi><mo><</mo><mi>b</mi>"),
    ],
)
def test_formulas_are_written_as_browsers_show_them(tex: str, written: str) -> None:
    assert inner(tex) == written


def test_limits_stand_below_in_display_and_beside_in_a_line() -> None:
    assert inner("\\max_i x", display=True).startswith("<munder><mo>max</mo>")
    assert inner("\\max_i x").startswith("<msub><mo>max</mo>")
    assert inner("\\operatorname*{argmax}_x f", True).startswith('<munder><mo movablelimits="true">')


def test_aligned_lines_are_a_table() -> None:
    table = inner("\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}")
    assert table.count("<mtr>") == 2 and 'columnalign="right"' in table and "&" not in table


def test_the_tex_goes_with_it_for_those_who_copy_it() -> None:
    assert 'alttext="x&#x5F;1"' in mathml("x_1")


@pytest.mark.parametrize("tex", ["a_i * b_i", "\\mathcal{L}_{CE} [a](b) <b> `c` ~~d~~", "|a| \\| \\{b\\}"])
def test_markdown_finds_nothing_in_it_to_read(tex: str) -> None:
    written = mathml(tex)
    assert markdown(f"Text <span>{written}</span> *end*", extensions=["tables", "attr_list"]) == (
        f"<p>Text <span>{written}</span> <em>end</em></p>"
    )
    assert not re.search(r"</?(?:b|script|a|code|em)\b", written)


def test_text_in_a_formula_is_no_markup() -> None:
    assert "<script>" not in mathml("\\text{<script>alert(1)</script>}")


@pytest.mark.parametrize(
    ("tex", "problem", "near"),
    [
        ("\\alhpa", "no TeX command", "\\alpha"),
        ("\\frac{a}{b", "lacks a closing brace", ""),
        ("a}", "lacks an opening brace", ""),
        ("x^", "nothing stands after", ""),
        ("a_b_c", "two subscripts", ""),
        ("\\left( x", "\\left needs a", ""),
        ("\\begin{alinged} a \\end{alinged}", "no TeX environment", "aligned"),
        ("\\begin{aligned} a", "never ended", ""),
        ("a & b", "outside of an environment", ""),
        ("a # b", "has no meaning", ""),
        ("a \\\\ b", "breaks no line", ""),
        ("\\cancel{x}", "browsers cannot show", ""),
        ("\\href{javascript:alert(1)}{x}", "no place in a formula", ""),
        ("\\style{color:red}{x}", "no place in a formula", ""),
        ("\\def\\a{\\a\\a}\\a", "no place in a formula", ""),
        ("\\color{url(x)} y", "no color", ""),
        ("\\frac", "cannot be read", ""),
        (" ", "without anything", ""),
        ("x" * (LONGEST + 1), "too long", ""),
        ("{" * 1500 + "}" * 1500, "cannot be read", ""),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_reason(tex: str, problem: str, near: str) -> None:
    with pytest.raises(TemplateError) as caught:
        mathml(tex)
    assert problem in str(caught.value)
    assert near in caught.value.near or not near
