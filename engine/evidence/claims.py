"""The claim language: names, numbers, `+ - * /`, comparisons, `and or not`, `abs min max`. Parsed, never run.

A name is `experiment.measurement`, at a sweep point `experiment[seed=0,k=8].measurement`. A hyphen before the
dot belongs to the experiment's name (`layer-0.l0`), one after it is a minus sign: `a.x-b.y` is a difference.
Comparisons chain: `0 < a.x < 1`. From loosest to tightest: or, and, not, comparison, + -, * /, unary minus.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from engine.errors import ClaimError, nearest
from engine.evidence.claim_tree import COMPARISONS, FUNCTIONS, Node, names_in
from engine.evidence.normal_form import normal_form

DEEPEST = 30  # nested parentheses and signs, far beyond any readable claim
LONGEST = 400  # names, numbers and signs in one claim, likewise
WORDS = ("and", "or", "not")
HINTS = {
    "=": "== compares",
    "&": "and",
    "|": "or",
    "!": "not, or != to compare",
    "'": "a name without quotes",
}
TOKEN = re.compile(
    r"(?P<name>[A-Za-z_][\w-]*(?:\[[^\[\]]*\])?\.[A-Za-z_]\w*)"
    r"|(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|==|!=|[-+*/<>(),])",
    re.ASCII,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: int  # column, from 0


@dataclass(frozen=True)
class Predicate:
    """A parsed claim: its text, and the numbers it names, in order, each once.

    `root` is the claim as written, `decided` what is judged: the same as plain comparisons with `and`, `or`.
    """

    text: str
    root: Node
    decided: Node
    names: tuple[str, ...]


@lru_cache(maxsize=4096)
def parse(text: str, where: str = "") -> Predicate:
    """The predicate of a claim; ClaimError points at the column that cannot be read.

    Remembered, as one text is asked for by the spec, by every model's verdict and by the cards of a page.
    """
    parser = _Parser(text, where)
    root = parser.expression()
    if parser.token.kind != "end":
        raise parser.error("nothing can follow here", "an operator, or the end")
    if not root.is_truth:
        raise parser.error("a claim is true or false", "a comparison such as a.x < 0.9", 0)
    try:
        decided = normal_form(root)
    except ClaimError as error:
        # The tree knows texts and no columns.
        at = max(0, text.find(error.seen))
        raise parser.error(error.problem, error.expected, at, hint=error.hint) from None
    return Predicate(text, root, decided, tuple(dict.fromkeys(names_in(root))))


class _Parser:
    """Recursive descent, a method for each precedence; each leaves `token` at what follows what it read.

    A method asks its parts for a number or a truth value (`demand`), so that a claim is typed as it is read
    and the error points at the part that does not fit.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.depth = 0
        self.tokens = self._tokens()
        self.end = 0  # column after the last token read
        self.token = next(self.tokens)

    def error(
        self, problem: str, expected: str, at: int | None = None, near: tuple[str, ...] = (), hint: str = ""
    ) -> ClaimError:
        at = self.token.at if at is None else at
        # Line ends as blanks, character by character, so that the caret stands under its column.
        shown = re.sub(r"\s", " ", self.text)
        start = max(0, at - 60)
        seen = f"{shown[start : at + 40]}\n        {' ' * (at - start)}^"
        where = f"{self.where}, column {at + 1}" if self.where else f"column {at + 1}"
        return ClaimError(problem, where=where, expected=expected, seen=seen, near=near, hint=hint)

    def _tokens(self) -> Iterator[Token]:
        at = 0
        read = 0
        while at < len(self.text):
            if self.text[at].isspace():
                at += 1
                continue
            if read == LONGEST:
                raise self.error("this claim is too long", f"at most {LONGEST} names, numbers and signs", at)
            token = self._token(at)
            yield token
            at += len(token.text)
            read += 1
        yield Token("end", "", len(self.text))

    def _token(self, at: int) -> Token:
        # A name comes first among the alternatives: it alone may hold hyphens and brackets, up to its dot.
        if found := TOKEN.match(self.text, at):
            return Token(str(found.lastgroup), found[0], at)
        sign = self.text[at]
        language = "names, numbers, + - * /, comparisons, and or not, abs min max"
        raise self.error(f"{sign!r} means nothing here", language, at, hint=HINTS.get(sign, ""))

    def take(self) -> Token:
        taken = self.token
        self.end = taken.at + len(taken.text)
        self.token = next(self.tokens)
        return taken

    def take_if(self, *texts: str) -> bool:
        if self.token.text in texts and self.token.kind in ("sign", "word"):
            self.take()
            return True
        return False

    def node(self, kind: str, start: int, parts: list[Node], signs: tuple[str, ...] = ()) -> Node:
        return Node(kind, self.text[start : self.end], tuple(parts), signs=signs)

    def expression(self) -> Node:
        return self.joined("or", lambda: self.joined("and", self.negation))

    def joined(self, word: str, inner: Callable[[], Node]) -> Node:
        # One node for a whole chain: `a and b and c` has three parts, and no depth.
        start = self.token.at
        parts = [inner()]
        while self.token.text == word:
            self.demand(parts[-1], True, start)
            self.take()
            at = self.token.at
            parts.append(self.demand(inner(), True, at))
        return self.node(word, start, parts) if len(parts) > 1 else parts[0]

    def negation(self) -> Node:
        start = self.token.at
        if not self.take_if("not"):
            return self.comparison()
        with self.deeper():
            at = self.token.at
            return self.node("not", start, [self.demand(self.negation(), True, at)])

    def comparison(self) -> Node:
        start = self.token.at
        parts = [self.arithmetic(0)]
        signs: list[str] = []
        while self.token.text in COMPARISONS:
            self.demand(parts[-1], False, start)
            signs.append(self.take().text)
            at = self.token.at
            parts.append(self.demand(self.arithmetic(0), False, at))
        return self.node("compare", start, parts, tuple(signs)) if signs else parts[0]

    def arithmetic(self, level: int) -> Node:
        """Sums (level 0) of products (level 1), from the left."""
        if level == 2:
            return self.signed()
        start = self.token.at
        left = self.arithmetic(level + 1)
        while self.token.kind == "sign" and self.token.text in ("+-", "*/")[level]:
            self.demand(left, False, start)
            sign = self.take().text
            at = self.token.at
            right = self.demand(self.arithmetic(level + 1), False, at)
            # A zero that is written can be refused when the spec is read; a measured one only when judged.
            if sign == "/" and right.kind == "number" and right.value == 0:
                raise self.error("this divides by zero", "another denominator", at)
            left = self.node("arithmetic", start, [left, right], (sign,))
        return left

    def signed(self) -> Node:
        start = self.token.at
        if not self.take_if("-"):
            return self.primary()
        with self.deeper():
            at = self.token.at
            return self.node("negative", start, [self.demand(self.signed(), False, at)])

    def primary(self) -> Node:
        token = self.token
        if token.kind == "number":
            return Node("number", token.text, value=self.number(self.take()))
        if token.kind == "name":
            # `a[seed = 0]` and `a[seed=0]` are one name, which must be spelled as the ledger spells it.
            return Node("name", re.sub(r"\s*([\[\],=])\s*", r"\1", self.take().text))
        if token.text in FUNCTIONS:
            return self.call()
        if self.take_if("("):
            with self.deeper():
                inner = self.expression()
            self.close()
            return inner
        if token.kind == "word" and token.text not in WORDS:
            near = nearest(token.text, (*FUNCTIONS, *WORDS))
            raise self.error(
                f"{token.text!r} is no number", "experiment.measurement, or abs min max", near=near
            )
        raise self.error("something is missing here", "a name, a number or a parenthesis")

    def number(self, token: Token) -> float:
        with suppress(ValueError):
            if np.isfinite(number := float(token.text)):
                return number
        raise self.error(f"{token.text!r} is no number", "0.9, 1e-3 or 1_000", token.at)

    def call(self) -> Node:
        function = self.take()
        if not self.take_if("("):
            raise self.error(f"{function.text} is a function", f"{function.text}(...)")
        with self.deeper():
            arguments = [self.demand(self.expression(), False, function.at)]
            while self.take_if(","):
                arguments.append(self.demand(self.expression(), False, function.at))
        self.close()
        wanted = FUNCTIONS[function.text][0]
        if len(arguments) != (wanted or len(arguments)):
            raise self.error(f"{function.text} takes one number", "abs(x)", function.at)
        return self.node("call", function.at, arguments, (function.text,))

    def close(self) -> None:
        if not self.take_if(")"):
            raise self.error("a parenthesis is not closed", ")")

    def demand(self, node: Node, truth: bool, at: int) -> Node:
        """The node, if it is a truth value or a number, as asked."""
        if node.is_truth == truth:
            return node
        if truth:
            raise self.error("this is a number where true or false is needed", "a comparison", at)
        raise self.error("this is true or false where a number is needed", "a name or a number", at)

    def deeper(self) -> _Depth:
        # Checked before Python's own stack runs out, which would be a traceback rather than a message.
        if self.depth >= DEEPEST:
            raise self.error("this is nested too deeply", f"at most {DEEPEST} levels")
        return _Depth(self)


@dataclass
class _Depth:
    """Counts how deep the parser is while a `with` block lasts."""

    parser: _Parser

    def __enter__(self) -> None:
        self.parser.depth += 1

    def __exit__(self, *_: object) -> None:
        self.parser.depth -= 1
