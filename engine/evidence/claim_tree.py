"""A parsed claim as a tree, and what it says of numbers, replicate by replicate."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from engine.errors import ClaimError

Values = np.ndarray | float
"""One number, or one for each replicate."""

FUNCTIONS: dict[str, tuple[int | None, Callable[..., Values]]] = {
    "abs": (1, np.abs),
    "min": (None, lambda *values: _fold(np.minimum, values)),
    "max": (None, lambda *values: _fold(np.maximum, values)),
}
COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
ARITHMETIC = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclass(frozen=True)
class Node:
    """One operation: `kind` is number, name, call, negative, arithmetic, compare, and, or, not."""

    kind: str
    text: str  # as written, for messages
    parts: tuple[Node, ...] = ()
    value: float = 0.0
    signs: tuple[str, ...] = ()

    @property
    def is_truth(self) -> bool:
        return self.kind in ("compare", "and", "or", "not")


def names_in(node: Node) -> Iterator[str]:
    """The numbers that a part of a claim names, in order, as often as they stand there."""
    if node.kind == "name":
        yield node.text
    for part in node.parts:
        yield from names_in(part)


def evaluate(node: Node, numbers: Mapping[str, Values]) -> np.ndarray:
    """Whether the claim holds, for numbers or replicate by replicate ("replicate" where any name is).

    Raises ClaimError for a name that is not there, and where a denominator is zero in any of them.
    """
    return np.asarray(_value(node, numbers), dtype=bool)


def evaluate_number(node: Node) -> float:
    """The value of a constant expression."""
    return float(_value(node, {}))


def values_of(node: Node, numbers: Mapping[str, Values]) -> Values:
    """The value of an expression, or its values replicate by replicate.

    Raises ClaimError as `evaluate` does.
    """
    return _value(node, numbers)


def _fold(function: Callable, values: tuple[Values, ...]) -> Values:
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


def _value(node: Node, numbers: Mapping[str, Values]) -> Values:
    if node.kind == "number":
        return node.value
    if node.kind == "name":
        return _number(node.text, numbers)
    # Every part is evaluated, also behind a settled `or`: a division by zero makes a claim undetermined in
    # whatever order it was written.
    values = [_value(part, numbers) for part in node.parts]
    if node.kind == "call":
        return FUNCTIONS[node.signs[0]][1](*values)
    if node.kind == "negative":
        return -values[0]
    if node.kind == "arithmetic":
        return _calculated(node, values)
    if node.kind == "compare":
        # `0 < x < 1` is `0 < x and x < 1`, replicate by replicate, as mathematicians read it.
        steps = zip(node.signs, values, values[1:], strict=False)
        return _fold(np.logical_and, tuple(COMPARISONS[sign](a, b) for sign, a, b in steps))
    if node.kind == "not":
        return np.logical_not(values[0])
    return _fold(np.logical_and if node.kind == "and" else np.logical_or, tuple(values))


def _number(name: str, numbers: Mapping[str, Values]) -> Values:
    if name in numbers:
        return numbers[name]
    raise ClaimError(f"{name} has no value", expected="one of " + ", ".join(numbers))


def _calculated(node: Node, values: list[Values]) -> Values:
    sign = node.signs[0]
    left, right = values
    if sign != "/":
        return ARITHMETIC[sign](left, right)
    # A replicate with a zero denominator has no truth value, and leaving it out would bias the share.
    zero = np.asarray(right) == 0
    if zero.any():
        often = f" in {zero.sum()} of {zero.size} replicates" if zero.ndim else ""
        raise ClaimError(f"{node.text} divides by zero{often}", seen=f"{node.parts[1].text} is 0")
    return left / right
