"""TeX formulas as MathML, which browsers show, print and read aloud without a script or a font of the site.

latex2mathml reads the TeX. What it hands over is mended where browsers, which know MathML Core alone, would
show it wrongly, and refused where a formula holds what it does not know: it would print the command's name.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from engine.errors import TemplateError, nearest
from engine.report.escape import for_site

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LONGEST = 4000
"""Characters of a formula; its depth is bounded by it too."""

# MathML Core, less what draws nothing but a frame (merror) or is another language's (annotations).
_TAG = re.compile(
    r"math|mrow|mi|mo|mn|mtext|mspace|mfrac|msqrt|mroot|mstyle|mpadded|mphantom|msub|msup|msubsup|munder|mover"
    r"|munderover|mmultiscripts|mprescripts|mtable|mtr|mtd"
)
_ATTRIBUTE = re.compile(
    r"displaystyle|scriptlevel|stretchy|fence|form|separator|lspace|rspace|minsize|maxsize|largeop|movablelimits"
    r"|accent|accentunder|linethickness|width|height|depth|voffset|mathvariant|columnalign|columnspacing"
    r"|mathcolor|mathbackground"
)
_FONTS = ("rm", "bf", "it", "sf", "tt", "cal", "bb", "frak", "scr", "bfit", "normal")
_COLOR = re.compile(r"[a-zA-Z]+|#[0-9a-fA-F]{3,8}")
_REFUSED = {
    r"\href": "a link stands beside a formula: [words](address)",
    r"\style": "",
    r"\class": "",
    r"\unicode": "type the character itself",
    r"\def": "a formula is read by itself: write out what the command stands for",
    r"\newcommand": "a formula is read by itself: write out what the command stands for",
    r"\renewcommand": "a formula is read by itself: write out what the command stands for",
    r"\newenvironment": "a formula is read by itself",
    r"\DeclareMathOperator": r"\operatorname{name}",
}
# By the name of the library's exception, whose message is empty.
_PROBLEMS = {
    "DoubleSubscriptsError": "two subscripts on one symbol: {a_b}_c or a_{bc}",
    "DoubleSuperscriptsError": "two superscripts on one symbol: {a^b}^c or a^{bc}",
    "MissingSuperScriptOrSubscriptError": "nothing stands after _ or ^",
    "ExtraLeftOrMissingRightError": r"each \left needs a \right, and the other way round",
    "MissingEndError": r"a \begin{...} that is never ended",
    "DenominatorNotFoundError": "a fraction without a denominator",
    "NumeratorNotFoundError": "a fraction without a numerator",
    "NoAvailableTokensError": "a command without what it takes",
    "InvalidAlignmentError": "columns are aligned by l, c and r",
    "LimitsMustFollowMathOperatorError": r"\limits stands after an operator",
}
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{([^}]*)\}")
# What the library has by another name, and the environments around a whole formula that change nothing here.
_SAME = {"aligned": "split", "alignedat": "split", "gathered": "matrix", "align": "align*"}
_AROUND = re.compile(r"\A\s*\\begin\{(equation\*?|displaymath)\}(.*)\\end\{\1\}\s*\Z", re.S)
_ESCAPED = re.compile(r"\\[^A-Za-z]")
_TEXT_COMMAND = re.compile(r"\\(?:text\w*|mbox|hbox)\s*\{[^{}]*\}")
_LIMITS = ("lim", "max", "min", "sup", "inf")
_UNDER = {"msub": "munder", "msup": "mover", "msubsup": "munderover"}
_ACCENTS = frozenset("^~¯―→˙¨´`˘ˇ˚")


def mathml(tex: str, display: bool = False) -> Markup:
    """A formula as one line of MathML, safe inside Markdown; TemplateError for what cannot be shown."""
    return Markup(_mathml(tex.strip(), display))


@lru_cache(maxsize=1024)
def _mathml(tex: str, display: bool) -> str:
    if not tex:
        raise TemplateError("a formula without anything in it", expected="$x$")
    if len(tex) > LONGEST:
        raise TemplateError("a formula too long to be read", expected=f"at most {LONGEST} characters")
    _check_braces(tex)
    _check_commands(tex)
    tree = _read(_in_known_environments(tex), display)
    _check_symbols(tree, tex)
    _merge_letters(tree)
    for element in tree.iter():
        _mend(element, display)
    kind = "block" if display else "inline"
    written = "".join(_written(child, tex) for child in tree)
    return f'<math display="{kind}" alttext="{for_site(tex)}">{written}</math>'


def _read(tex: str, display: bool) -> Element:
    # Loaded where the first formula is: the library reads a table of all symbols.
    from latex2mathml.converter import convert_to_element

    try:
        return convert_to_element(tex, display="block" if display else "inline")
    except Exception as error:  # it raises what comes: StopIteration, IndexError, RuntimeError, its own
        problem = _PROBLEMS.get(type(error).__name__, "it breaks off, or a command lacks what it takes")
        raise TemplateError(
            f"a formula that cannot be read: {problem}", expected="TeX", seen=_shortened(tex)
        ) from error


def _check_braces(tex: str) -> None:
    depth = 0
    for character in _ESCAPED.sub("  ", tex):
        depth += (character == "{") - (character == "}")
        if depth < 0:
            break
    if depth:
        missing = "an opening" if depth < 0 else "a closing"
        raise TemplateError(f"a formula that lacks {missing} brace", expected="as many { as }", seen=tex)


def _check_commands(tex: str) -> None:
    """TemplateError with the nearest for a command or an environment that is not known."""
    commands, environments = _known()
    bare = _TEXT_COMMAND.sub(" ", _ENVIRONMENT.sub(" ", _ESCAPED.sub(" ", tex)))
    for name in re.findall(r"\\[A-Za-z]+", bare):
        if name in _REFUSED:
            raise TemplateError(f"{name} has no place in a formula here", seen=name, hint=_REFUSED[name])
        if name not in commands:
            near = nearest(name, commands)
            raise TemplateError(
                f"no TeX command {name}", expected="a command of mathematics", seen=name, near=near
            )
    for name in _ENVIRONMENT.findall(tex):
        if name not in environments and not _AROUND.match(tex):
            expected = "one of " + ", ".join(sorted(environments))
            near = nearest(name, environments)
            raise TemplateError(f"no TeX environment {name!r}", expected=expected, seen=name, near=near)


@cache
def _known() -> tuple[frozenset[str], frozenset[str]]:
    """The commands and the environments that the library reads."""
    from latex2mathml import commands
    from latex2mathml.symbols_parser import SYMBOLS

    named = {r"\left", r"\right", r"\begin", r"\end", *SYMBOLS}
    for name, value in vars(commands).items():
        if name.isupper():
            named |= {value} if isinstance(value, str) else {each for each in value if isinstance(each, str)}
    known = {each for each in named if each.startswith("\\")} - _REFUSED.keys()
    # `\mathbfit` and the like are read by how they begin.
    fonts = {rf"\math{style}" for style in _FONTS}
    environments = {matrix[1:] for matrix in commands.MATRICES}
    return frozenset(known | fonts), frozenset(environments | _SAME.keys())


def _in_known_environments(tex: str) -> str:
    if around := _AROUND.match(tex):
        tex = around[2]
    for name, same in _SAME.items():
        tex = re.sub(rf"\\(begin|end)\s*\{{{name}\}}", rf"\\\1{{{same}}}", tex)
    return re.sub(r"(\\begin\{split\})\s*\{\d+\}", r"\1", tex)  # the number of columns of alignedat


def _check_symbols(tree: Element, tex: str) -> None:
    """TemplateError for signs that stand where TeX has no use for them: the library prints them."""
    for element in tree.iter():
        text = element.text or ""
        if element.tag != "mtext" and text in ("&", "{", "}", "#", "$"):
            where = "outside of an environment" if text == "&" else "in this place"
            raise TemplateError(
                f"{text} has no meaning {where} of a formula", expected=f"\\{text} for the sign", seen=tex
            )
        if element.get("linebreak"):
            raise TemplateError(
                r"\\ breaks no line outside of an environment", expected=r"\begin{aligned} ...", seen=tex
            )
        if not _TAG.fullmatch(element.tag):
            raise TemplateError(
                "a formula that browsers cannot show", expected="what MathML Core has", seen=_shortened(tex)
            )


def _merge_letters(tree: Element) -> None:
    """`\\mathrm{KL}` is one name, and not K times L."""
    for row in tree.iter("mrow"):
        letters = [child for child in row if child.tag == "mi" and len(child.text or "") == 1]
        variants = {letter.get("mathvariant") for letter in letters}
        if len(row) == len(letters) > 1 and variants == {"normal"}:
            name = "".join(letter.text or "" for letter in letters)
            for letter in letters[1:]:
                row.remove(letter)
            letters[0].text = name


def _mend(element: Element, display: bool) -> None:
    """One element as browsers show it rightly."""
    text = html.unescape(element.text or "")
    variant = element.get("mathvariant", "")
    if element.tag == "mi" and text == "~":
        element.tag, element.text = "mo", "∼"
    elif element.tag == "mo" and len(text) > 1 and text.isalpha() and not element.get("movablelimits"):
        # An operator has space on both sides, which a function's name has not.
        element.tag = "mi" if text not in _LIMITS else "mo"
    elif element.tag in ("mi", "mn") and variant not in ("", "normal"):
        # Browsers know no variant but the upright one; the letters themselves have code points.
        element.text = "".join(_styled(character, variant) for character in text)
        del element.attrib["mathvariant"]
    if element.tag == "mover" and len(element) == 2 and _sign(element[1]) in _ACCENTS:
        element.set("accent", "true")
    if display and element.tag in _UNDER and len(element) and _takes_limits(element[0]):
        element.tag = _UNDER[element.tag]


def _sign(element: Element) -> str:
    return html.unescape(element.text or "")


def _takes_limits(base: Element) -> bool:
    return base.tag == "mo" and (base.get("movablelimits") == "true" or _sign(base) in _LIMITS)


_STYLES = {
    "bold": ("BOLD",),
    "italic": ("ITALIC",),
    "bold-italic": ("BOLD ITALIC", "BOLD"),
    "double-struck": ("DOUBLE-STRUCK",),
    "script": ("SCRIPT",),
    "bold-script": ("BOLD SCRIPT",),
    "fraktur": ("FRAKTUR", "BLACK-LETTER"),
    "sans-serif": ("SANS-SERIF",),
    "monospace": ("MONOSPACE",),
}


def _styled(character: str, variant: str) -> str:
    """The character's own mathematical letter: 𝐱 for a bold x; itself where there is none."""
    name = unicodedata.name(character, "")
    # LATIN SMALL LETTER X, GREEK SMALL LETTER THETA, DIGIT ONE
    short = re.sub(r"^(?:LATIN|GREEK) (SMALL|CAPITAL) LETTER ", r"\1 ", name)
    for style in _STYLES.get(variant, ()):
        # Some letters are older than the alphabets that they are missing from: ℝ, ℒ, ℭ.
        for whole in (f"MATHEMATICAL {style} {short}", f"{style} {short}"):
            try:
                return unicodedata.lookup(whole)
            except KeyError:
                continue
    return character


def _written(element: Element, tex: str) -> str:
    """An element as HTML in which Markdown finds nothing to read."""
    attributes = "".join(f' {name}="{for_site(value)}"' for name, value in _attributes(element, tex))
    inner = for_site(html.unescape(element.text or "")) if element.text else ""
    inner += "".join(_written(child, tex) for child in element)
    return f"<{element.tag}{attributes}>{inner}</{element.tag}>"


def _attributes(element: Element, tex: str) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if name in ("mathcolor", "mathbackground") and not _COLOR.fullmatch(value):
            raise TemplateError("no color", expected="a name, or # and hexadecimal digits", seen=value)
        if _ATTRIBUTE.fullmatch(name):
            yield name, value


def _shortened(tex: str) -> str:
    return tex if len(tex) <= 80 else f"{tex[:77]}..."
