"""A claim as plain comparisons joined by `and` and `or`, so that each comparison can be judged by itself.

- `not` goes inwards: `not (a and b)` is `not a or not b`, and `not x < y` is `x >= y`.
- A chain is its steps: `0 < x < 1` is `0 < x and x < 1`.
- `max`, `min` and `abs` become alternatives: `max(x, y) <= t` is `x <= t and y <= t`, `max(x, y) >= t` is
  `x >= t or y >= t`; `min` is the dual, and `abs(x)` is `max(x, -x)`, so that `abs(x) <= t` is
  `x <= t and -x <= t`.

The last needs to know whether a comparison rises or falls with the function's value. It is known through
sums, signs and constant factors; a function multiplied or divided by a measured number is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.errors import ClaimError
from engine.evidence.claim_tree import Node, evaluate_number, names_in

OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}
MOST_COMPARISONS = 64
"""More than a reader can follow; nested functions multiply."""


def normal_form(node: Node) -> Node:
    """The same claim of `and`, `or` and comparisons with one sign; `abs`, `min`, `max` at most beside `==`.

    Raises ClaimError, its `seen` the part that cannot be judged.
    """
    found = _positive(node) if node.kind != "not" else _negative(node.parts[0])
    if sum(1 for _ in comparisons_in(found)) > MOST_COMPARISONS:
        raise ClaimError(
            "this claim is too long to be judged",
            expected=f"at most {MOST_COMPARISONS} comparisons once abs, min and max are written out",
            seen=node.text,
        )
    return found


def comparisons_in(node: Node) -> Iterator[Node]:
    """The comparisons that a claim in normal form is made of."""
    if node.kind == "compare":
        yield node
    else:
        for part in node.parts:
            yield from comparisons_in(part)


def _positive(node: Node) -> Node:
    """The normal form of a claim."""
    if node.kind == "not":
        return _negative(node.parts[0])
    if node.kind == "compare":
        steps = zip(node.signs, node.parts, node.parts[1:], strict=False)
        return _joined("and", node.text, [_step(sign, left, right) for sign, left, right in steps])
    return _joined(node.kind, node.text, [_positive(part) for part in node.parts])


def _negative(node: Node) -> Node:
    """The normal form of a claim's opposite (De Morgan)."""
    if node.kind == "not":
        return _positive(node.parts[0])
    text = f"not ({node.text})"
    if node.kind == "compare":
        steps = zip(node.signs, node.parts, node.parts[1:], strict=False)
        return _joined("or", text, [_step(OPPOSITE[sign], left, right) for sign, left, right in steps])
    return _joined("or" if node.kind == "and" else "and", text, [_negative(part) for part in node.parts])


def _joined(word: str, text: str, parts: list[Node]) -> Node:
    """`a and (b and c)` is one `and` of three, so that their number is what a reader counts."""
    flat = [inner for part in parts for inner in (part.parts if part.kind == word else (part,))]
    return flat[0] if len(flat) == 1 else Node(word, text, tuple(flat))


def _step(sign: str, left: Node, right: Node) -> Node:
    """One comparison, its functions written out one after the other."""
    plain = Node("compare", f"{left.text} {sign} {right.text}", (left, right), signs=(sign,))
    # Equality has no direction; it is judged between counts and choices alone, as it stands.
    if sign in ("==", "!="):
        return plain
    # left < right where left - right is below 0: the right side falls when the left would rise.
    for side, rises in ((0, True), (1, False)):
        if found := _function_in(plain.parts[side], rises):
            call, call_rises = found
            break
    else:
        return plain
    name = call.signs[0]
    options = list(call.parts)
    if name == "abs":
        options.append(Node("negative", f"-({call.parts[0].text})", (call.parts[0],)))
    # The largest of several is below a bound where all are, and above one where any is; the smallest likewise
    # the other way round. A function that lowers the difference has the bound on its other side.
    bounded_above = (sign in ("<", "<=")) == call_rises
    all_of = bounded_above == (name != "min")
    chosen = []
    for option in options:
        sides = [_with(part, call, option) if i == side else part for i, part in enumerate(plain.parts)]
        chosen.append(_step(sign, *sides))
    return _joined("and" if all_of else "or", plain.text, chosen)


def _function_in(node: Node, rises: bool) -> tuple[Node, bool] | None:
    """The first `abs`, `min` or `max`, and whether the difference rises with its value."""
    if next(names_in(node), None) is None:
        return None
    if node.kind == "call":
        return node, rises
    for place, part in enumerate(node.parts):
        if found := _function_in(part, rises):
            call, inner = found
            return call, inner == _keeps_direction(node, place, call)
    return None


def _keeps_direction(node: Node, place: int, call: Node) -> bool:
    """Whether an operation rises with its part at `place`."""
    sign = node.signs[0] if node.signs else "-"
    if node.kind == "negative":
        return False
    if sign in "+-":
        return sign == "+" or place == 0
    other = node.parts[1 - place]
    if next(names_in(other), None) or (sign == "/" and place == 1):
        name = call.signs[0]
        raise ClaimError(
            f"whether this holds cannot be judged: {name} stands in a product with a measured number",
            expected=f"{name}(...) in sums, or times a constant",
            seen=node.text,
            hint="write abs(a - b) <= t * c in place of abs(a - b) / c <= t",
        )
    return evaluate_number(other) >= 0


def _with(node: Node, call: Node, option: Node) -> Node:
    """The expression with one of the function's arguments in the place of the function."""
    if node is call:
        return option
    return replace(node, parts=tuple(_with(part, call, option) for part in node.parts))
