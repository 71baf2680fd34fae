"""Which numerals count as typed by hand, line by line."""

from __future__ import annotations

import pytest

from engine.errors import TemplateError
from engine.report.lint import lint, numerals

CASES = [
    ("The rank falls from 375 to 12.8 at layer 9 of 12, MLP 9 writes it.", ["375", "12.8", "9", "12", "9"]),
    ("In L9H6, MLP9 and blocks.6.hook_resid_pre of GPT-2 or qwen2.5-coder-0.5b-instruct.", []),
    ("SmolLM2-135M, SmolLM2 135M, Qwen2.5 0.5B and GPT-2 124M are names;", []),
    ("a 135M model and 3M tokens are not.", ["135M", "3M"]),
    ("bf16, fp32, Q4_1, top-5, v1.9, C4, sha256, L0 are names.", []),
    ("It is 10x faster, 5ms, 40%, ~0.5, -3, 1e-5, 1,000, 3/4, 2nd.", None),
    ("The 2nd head, 3D plots and 4-bit weights start with digits.", ["2nd", "3D", "4"]),
    ("three prompts, one model", []),
    ("`code 12` and ``a ` 13`` and $5", ["5"]),
    ("```\n12\n```\n13", ["13"]),
    ("~~~ python\n12\n~~~", []),
    ("1. first\n2) second\n  10. third: 7", ["7"]),
    ("## 2. Methods\n### 2.1 More\n# Layer 9", ["9"]),
    ("See [page 4](https://x.org/12?a=3 \"title 5\") at https://arxiv.org/abs/2202.05262.", []),
    ("[text 12](x.md)", ["12"]),
    ("[ref]: https://x.org/12\n<https://x.org/13> www.x14.org", []),
    ("As shown [@paulo2025; @b2020], and [^1].\n\n[^1]: A footnote with 12.", ["12"]),
    ("[^1]: 12 of them, [@a2020]: 13, @{https://x.org/2020/1} says.", ["12", "13"]),
    ("<img width=300 alt='4'> <!-- 12 --> text{ .big #id3 width=4 } {: #x1 }", []),
    ("&#8211; &frac12; :material-numeric-3:", []),
    ("On 2026-11-22, 22 November 2026, November 2026 and Nov. 3, 2026.", []),
    ("nostalgebraist (2020), (Meng et al., 2022), Nanda 2023.", []),
    ("(n = 2000), 2048 features, Layer 2000 of", ["2000", "2048", "2000"]),
    ("torch 2.13.0, version 3.11, Python 3.11", ["3.11"]),
    ("Section 3, Figure 2.1, Table 4, Eq. 5, § 6, pp. 7-9, Step 8", ["8"]),
    ("with its 95 % interval and 95% CI, not 95 % of prompts", ["95"]),
    ("{{ lens.x }} of {{ lens.n }} and {{ literal('375') }}", []),
    ("{% for i in range(12) %}{{ table('a.b', rows=5) }}{% endfor %}{# 12 #}", []),
    ("{{ 375 }} and {{ '12.8' }} and {{ 3 * 4 }}", ["375", "12.8", "3", "4"]),
    ("{% claim 'rank-falls' %}It falls to 12.{% endclaim %}", ["12"]),
    ("{% raw %}{{ 12 }}{% endraw %}", ["12"]),
    ("---\ntitle: 12\n---\n13", ["13"]),
    ("a rank of٣", []),
    ("| layer 9 | {{ lens.x }} |\n|---|---|\n| 12 | x |", ["9", "12"]),
]  # fmt: skip


@pytest.mark.parametrize(("template", "found"), CASES, ids=[c[0][:40] for c in CASES])
def test_numerals_typed_by_hand(template: str, found: list[str] | None) -> None:
    typed = [p.message.split("'")[1] for p in lint(template, "report.md") if p.kind == "typed-number"]
    assert typed == found if found is not None else len(typed) == 9


def test_every_numeral_has_its_line() -> None:
    concerns = lint("---\na: 1\n---\n\n`1`\n\ntext 12\nand {{ lens.x }}\n\n13, {{ 14 }}\n", "r.md")
    assert [(p.where, p.message.split("'")[1]) for p in concerns] == [
        ("r.md:7", "12"),
        ("r.md:10", "13"),
        ("r.md:10", "14"),
    ]


def test_the_message_says_what_to_write_instead() -> None:
    (problem,) = lint("rank 375", "r.md")
    assert '{{ literal("375") }}' in problem.message and "{{ experiment.name }}" in problem.message


def test_a_value_in_code_could_not_carry_its_evidence() -> None:
    concerns = lint("`{{ lens.x }}` and\n\n```\ny\n{{ lens.y }}\n```\n{{ lens.z }}", "r.md")
    assert [(p.kind, p.where) for p in concerns] == [
        ("number-in-code", "r.md:1"),
        ("number-in-code", "r.md:5"),
    ]


def test_claims_that_no_sentence_cites_are_named() -> None:
    template = '{% if false %}{% claim "a" %}x{% endclaim %}{% endif %}'
    template += ' {% claim "b" %}y{% endclaim %} `{% claim "c" %}code{% endclaim %}`'
    concerns = [p for p in lint(template, "r.md", ["a", "b", "c"]) if p.kind == "uncited-claim"]
    assert [p.message for p in concerns] == ["claim 'c' is registered, and no sentence cites it"]


def test_a_template_that_cannot_be_parsed_is_an_error_with_its_line() -> None:
    with pytest.raises(TemplateError) as caught:
        lint("a\n{{ x", "r.md")
    assert caught.value.where == "r.md:2"


@pytest.mark.parametrize(
    "text", ["a", "{{ lens.x -}}\n\n 12", "{%- if 1 %} 12 {%- endif -%} \n", "{{'}}'}} 12"]
)
def test_whitespace_control_moves_nothing(text: str) -> None:
    assert [p.message.split("'")[1] for p in lint(text, "r.md")] == (["12"] if "12" in text else [])


def test_numerals_keeps_order() -> None:
    assert list(numerals("5 a\n6")) == [(1, "5"), (2, "6")]
