r"""What an author saved becomes what the template engine reads, on the same lines.

The engine's own signs, `{{`, `{%` and `{#`, mean other things in Markdown and in TeX. So before it reads a
template

- a comment is `{#`, white space, words, `#}`. What follows `{#` without a space is an attribute list, such as
  the id of a heading (`## Findings {#findings}`). A comment that is never closed, or that another one begins
  in, is an error: it would take the text between with it.
- code, in backticks or in fences, is left as it is typed: nothing in it is read.
- `$...$` and `$$...$$` are formulas, as pandoc has them; nothing in them is read either.
- a backslash before `$` or `@` makes it a plain character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from engine.errors import TemplateError
from engine.report.containers import line_contexts
from engine.report.prose import blanked
from engine.report.template_limits import check_size

FORMULA = "formula"
"""The function that a formula calls."""

_STRING = r"""\"(?:\\.|[^"\\])*\"|'(?:\\.|[^'\\])*'"""
# Atomic groups: a tag that is never closed is given up at once, and not tried in every other way.
_PIECES = re.compile(
    rf"""
      (?P<raw>       \{{%[-+]?\s*raw\s*[-+]?%\}}.*?\{{%[-+]?\s*endraw\s*[-+]?%\}})
    | (?P<comment>   \{{\#[-+]?(?:\s.*?)?\#\}})
    | (?P<unclosed>  \{{\#[-+]?(?=\s|\Z))
    | (?P<tag>       \{{\{{(?>{_STRING}|(?!\}}\}}).)*+\}}\}} | \{{%(?>{_STRING}|(?!%\}}).)*+%\}})
    | (?P<fence>     ^[ \t>]*(?P<bar>`{{3,}}|~{{3,}})[^\n]*\n.*?(?:^[ \t>]*(?P=bar)[`~]*[ \t]*$|\Z))
    | (?P<code>      (?<!`)(?P<tick>`+)(?!`)(?:(?!\n[ \t]*\n).)+?(?<!`)(?P=tick)(?!`))
    | (?P<escaped>   \\[!-/:-@\[-`|-~])
    | (?P<display>   \$\$(?:\\.|(?!\n[ \t]*\n)[^\\$])+\$\$)
    | (?P<lone>      \$\$)
    | (?P<inline>    \$(?![\s$])(?:\\.|(?!\n[ \t]*\n)[^\\$])*(?<!\s)\$(?!\d))
    | (?P<attribute> \{{\#)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_OPENING = re.compile(r"\{(?=[{%#])")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_COMMENT = re.compile(r"\{#[-+]?\s")
_ATTRIBUTE = r"""[#.][\w:.-]+|[\w-]+=(?:"[^"\n]*"|'[^'\n]*'|[^\s"'{}]+)"""
_ATTRIBUTE_LIST = re.compile(rf"\{{#\w[\w:.-]*(?:[ \t]+(?:{_ATTRIBUTE}))*[ \t]*\}}")
# A name with a dot or a call, or anything between spaces: what TeX means by two braces has neither.
_TAG_IN_FORMULA = re.compile(r"\{\{-?\s|\{\{-?[A-Za-z][\w-]*[.\[]\w|\{\{-?\w+\(|\{%")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HEADER = re.compile(r"\A---[ \t]*\n(?:[ \t]*[#\w\"'-][^\n]*\n|[ \t]*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_CELL = re.compile(r"[ \t>]*[`~]{3,}[ \t]*\{")


def unix_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# Kept for the few texts at hand: each is printed, linted and searched for superlatives, one after the other.
@lru_cache(maxsize=8)
def template_source(text: str, where: str) -> str:
    """The template as Jinja is to read it, every piece on the line that it was written on.

    TemplateError with file and line for a comment that takes text with it, a formula that is never closed or
    that holds a tag, and a control character.
    """
    text = unix_lines(text).removeprefix("\ufeff")
    check_size(text, where)

    def place(position: int) -> str:
        return f"{where}:{text.count(chr(10), 0, position) + 1}"

    if found := _CONTROL.search(text):
        seen = f"U+{ord(found[0]):04X}"
        raise TemplateError("a control character in the text", where=place(found.start()), seen=seen)
    is_code = _indented_code(text)
    return _PIECES.sub(lambda found: _read(found, place, is_code(found.start())), text)


def refuse_header(text: str, where: str) -> None:
    """TemplateError for a report that begins with YAML front matter: what it would say is in the spec."""
    if _HEADER.match(unix_lines(text).removeprefix("\ufeff")):
        raise TemplateError(
            "a report has no front matter",
            where=f"{where}:1",
            expected="text; title and question are those of spec.yaml",
            seen="a YAML header between lines of ---",
            hint="take it out; a line across the page is written ***",
        )


def values_in_code(text: str) -> Iterator[int]:
    """The line of each code span or fence in which a value is asked for, which nobody reads there.

    What stands between raw tags, and cells that are to be executed (```{python}), ask for none.
    """
    text = unix_lines(text)
    for found in _PIECES.finditer(text):
        code = found["fence"] or found["code"]
        if code and not _CELL.match(code) and "{{" in (bare := blanked(code, _RAW)):
            yield text.count("\n", 0, found.start() + bare.index("{{")) + 1


def _read(found: re.Match[str], place: Callable[[int], str], is_code: bool) -> str:
    """A piece as Jinja is to read it."""
    piece = found[0]
    at = found.start()
    match found.lastgroup:
        case "fence" | "code":
            return _as_typed(piece)
        case "comment" | "unclosed":
            _check_comment(piece, at, place)
        case "attribute":
            if not is_code and not _ATTRIBUTE_LIST.match(found.string, at):
                raise _neither(found.string[at : at + 40], place(at))
            return _protected(piece)
        case "raw":
            return "{" + _PIECES.sub(_in_raw, piece[1:])
        case "escaped" if piece in (r"\$", r"\@") and not is_code:
            return f'{{{{ literal("{piece[1]}") }}}}'
        case "display" | "inline" if not is_code:
            return _formula(piece, at, place)
        case "lone" if not is_code:
            raise TemplateError(
                "a formula that is never closed",
                where=place(at),
                expected="$$ after it, with no empty line between",
                hint=r"two dollar signs in prose are written \$\$",
            )
    return piece


def _indented_code(text: str) -> Callable[[int], bool]:
    """Tells of a place in the text whether it stands in indented code."""
    if "\n    " not in f"\n{text}" and "\t" not in text:
        return lambda position: False
    contexts = line_contexts(text)
    return lambda position: contexts[text.count("\n", 0, position)].is_code


def _check_comment(piece: str, at: int, place: Callable[[int], str]) -> None:
    inner = _COMMENT.search(piece, 2)
    if piece.endswith("#}") and not inner:
        return
    raise TemplateError(
        "a comment that is never closed" if not inner else "a comment that another comment begins in",
        where=place(at),
        expected="{# words #}",
        seen=f"{{# at {place(at + inner.start())} before #}}" if inner else piece[:40],
        hint="the id of a heading is written {#id}, without a space",
    )


def _neither(seen: str, where: str) -> TemplateError:
    return TemplateError(
        "neither a comment nor a list of attributes",
        where=where,
        expected="{# words #}, with spaces, or {#id .class key=value}",
        seen=seen.partition("\n")[0],
        hint="as text it is written `{#` in backticks",
    )


def _formula(piece: str, at: int, place: Callable[[int], str]) -> str:
    """A call with the TeX as its argument, over as many lines."""
    sign = "$$" if piece.startswith("$$") else "$"
    tex = piece.removeprefix(sign).removesuffix(sign)
    if tag := _TAG_IN_FORMULA.search(tex):
        raise TemplateError(
            "a tag inside of a formula is not read",
            where=place(at + len(sign) + tag.start()),
            expected="a number beside the formula; two braces of TeX without spaces, {{x}}",
            seen=tex[tag.start() :].partition("\n")[0][:40],
            hint=r"a dollar sign in prose is written \$",
        )
    display = ", true" if sign == "$$" else ""
    return f"{{{{ {FORMULA}({_literal(tex)}{display}){chr(10) * tex.count(chr(10))} }}}}"


def _literal(tex: str) -> str:
    """A string of the template language; without braces, so that no end of a tag is seen in it."""
    signs = {"\\": r"\\", '"': r"\"", "\n": r"\n", "{": r"\x7b", "}": r"\x7d", "%": r"\x25", "#": r"\x23"}
    return '"' + "".join(signs.get(character, character) for character in tex) + '"'


def _in_raw(found: re.Match[str]) -> str:
    """In raw text nothing is read but formulas, which Markdown would take apart."""
    if found.lastgroup not in ("display", "inline"):
        return found[0]
    return f"{{% endraw %}}{_formula(found[0], 0, lambda position: '')}{{% raw %}}"


def _as_typed(code: str) -> str:
    """Code in which Jinja finds nothing to read, except that it takes the author's own raw tags away."""
    pieces = []
    at = 0
    for raw in _RAW.finditer(code):
        pieces += [_protected(code[at : raw.start()]), raw[0]]
        at = raw.end()
    return "".join([*pieces, _protected(code[at:])])


def _protected(text: str) -> str:
    return _OPENING.sub("{% raw %}{{% endraw %}", text)
