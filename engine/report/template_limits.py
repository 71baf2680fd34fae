"""How large and how deep a template may be, looked at before anything reads it whole.

Parsers and regular expressions take much longer for a text of signs that open and never close than for prose
of the same length, and recursive ones end in Python's own RecursionError, which has no line. No report comes
near these limits.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter

from jinja2 import nodes
from jinja2.parser import Parser

from engine.errors import TemplateError

MOST_CHARACTERS = 200_000
"""Of a template, and of any text that it makes in itself; the longest report has some 17,000."""
MOST_IN_A_PARAGRAPH = 50_000
MOST_IN_A_WORD = 1_000
"""Characters without a space between: an address may be long, and what lints numbers looks at whole words."""
MOST_SIGNS = 1_000
"""Of one kind in a paragraph."""
MOST_BRACES = 3_000
"""In a paragraph: a table of numbers has many."""
MOST_UNCLOSED = 300
"""Tags that begin after the last one that ends."""
MOST_MARKS = 20
"""Of quotes and lists before the words of a line: Markdown reads them one within the other."""
MOST_DEPTH = 40
"""Of expressions and blocks within each other: Python's compiler ends at some hundred."""
MOST_LOOPS = 8
"""Of loops within loops: Python has at most twenty."""
MOST_DIGITS = 300
"""Of a number that is typed."""

_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+")
_SIGNS = "`$*_[]<>~!\\"
_DIGITS = re.compile(rf"(?:0[xX]|\d)[0-9a-fA-F_]{{{MOST_DIGITS},}}")
_WORD = re.compile(rf"\S{{{MOST_IN_A_WORD + 1}}}")
_MARKS = re.compile(r"(?:[ \t]*(?:>|[-*+]|\d{1,9}[.)])(?=[ \t>]))+")


def check_size(text: str, where: str) -> None:
    """TemplateError with the line where a text is too large, or has too many signs that Markdown reads."""

    def refuse(problem: str, position: int, expected: str, seen: str) -> None:
        line = text.count("\n", 0, position) + 1
        raise TemplateError(problem, where=f"{where}:{line}", expected=expected, seen=seen)

    if len(text) > MOST_CHARACTERS:
        refuse("this template is too long", 0, f"at most {MOST_CHARACTERS:,} characters", f"{len(text):,}")
    if digits := _DIGITS.search(text):
        refuse("a number too long to be one", digits.start(), f"{MOST_DIGITS} digits", f"{len(digits[0]):,}")
    if word := _WORD.search(text):
        refuse("a word too long to be one", word.start(), f"{MOST_IN_A_WORD:,} characters", word[0][:40])
    closed = max(text.rfind("}}"), text.rfind("%}"), 0)
    unclosed = [tag.start() for tag in re.finditer(r"\{[{%]", text) if tag.start() >= closed]
    if len(unclosed) > MOST_UNCLOSED:
        refuse("tags that are never closed", unclosed[0], "}} or %} after each", f"{len(unclosed):,} of them")
    for line in re.finditer(r"^[ \t]*[>*+\d-].*$", text, re.MULTILINE):
        marks = _MARKS.match(line[0])
        if marks and len(re.findall(r"[>*+-]|\d+", marks[0])) > MOST_MARKS:
            refuse("quotes or lists too deep", line.start(), f"{MOST_MARKS} within each other", line[0][:40])
    for paragraph in _PARAGRAPH.finditer(text):
        size = len(paragraph[0])
        if size > MOST_IN_A_PARAGRAPH:
            expected = f"at most {MOST_IN_A_PARAGRAPH:,} characters up to an empty line"
            refuse("this paragraph is too long", paragraph.start(), expected, f"{size:,}")
        counts = Counter(paragraph[0])
        for sign in _SIGNS + "{":
            most = MOST_BRACES if sign == "{" else MOST_SIGNS
            if counts[sign] > most:
                seen = f"{counts[sign]:,} of {sign}"
                refuse("too many signs in one paragraph", paragraph.start(), f"at most {most:,}", seen)


def check_tree(tree: nodes.Template, where: str) -> list[nodes.Node]:
    """Every node of a syntax tree, in the order of the text.

    TemplateError with the line where it is too deep, or says what Python would not compile.
    """
    found: list[nodes.Node] = []
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 0, 0)]
    while waiting:  # not by recursion, which ends before the deepest of trees
        node, depth, loops = waiting.pop()
        found.append(node)
        place = f"{where}:{node.lineno}"
        if depth > MOST_DEPTH:
            raise TemplateError("nested too deeply", where=place, expected=f"at most {MOST_DEPTH} levels")
        loops += isinstance(node, nodes.For)
        if loops > MOST_LOOPS:
            raise TemplateError("too many loops in loops", where=place, expected=f"at most {MOST_LOOPS}")
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError(
                "a loop that calls itself", where=place, expected="a loop without `recursive`"
            )
        _check_names(node, place)
        children = [(child, depth + 1, loops) for child in node.iter_child_nodes()]
        waiting += reversed(children)
    return found


def _check_names(node: nodes.Node, place: str) -> None:
    """TemplateError for a name that stands twice among the arguments of a macro or a call."""
    if not isinstance(node, nodes.Macro | nodes.CallBlock | nodes.Call | nodes.Filter | nodes.Test):
        return
    names: list[str] = []
    if isinstance(node, nodes.Macro | nodes.CallBlock):
        names += [str(argument.name) for argument in node.args if isinstance(argument, nodes.Name)]
    if isinstance(node, nodes.Call | nodes.Filter | nodes.Test):
        names += [keyword.key for keyword in node.kwargs if isinstance(keyword, nodes.Keyword)]
    for name, count in Counter(names).items():
        if count > 1:
            raise TemplateError(f"two arguments are called {name!r}", where=place, expected="each once")


def line_of_parser(error: BaseException, where: str) -> str:
    """File and line at which Jinja's parser was when an error that knows no line was raised."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        parser = frame.f_locals.get("self")
        if isinstance(parser, Parser) and hasattr(parser, "stream"):
            return f"{where}:{parser.stream.current.lineno}"
    return where
