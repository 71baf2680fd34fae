"""The numbers that a report opens with, each beside its control: as its spec declares them.

A control is what the number is read against: the one that the measurement has by itself, or another that
the spec names. A key number without one needs a person, as does one that the headline writes otherwise
(81.4 % there and 0.814 here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from engine.errors import EngineError
from engine.report.lint import Concern
from engine.report.numbers import Number, number_in_words
from engine.runs.ledger import Ledger
from engine.spec.models import KeyNumber


@dataclass(frozen=True)
class KeyPair:
    """A key number, what it is, and its control with the words for that; None where it has none."""

    number: Number
    says: str
    control: Number | None
    control_says: str


def key_pairs(spec_numbers: Sequence[KeyNumber], find: Callable[[str, str], Number]) -> list[KeyPair]:
    """The key numbers of a spec; `find(name, model)` gives a number, of the primary model for no model."""
    return [_pair(key, find) for key in spec_numbers]


def _pair(key: KeyNumber, find: Callable[[str, str], Number]) -> KeyPair:
    number = find(key.number, "")
    control = _control(key, number, find)
    about = control.measurement.about if control and control.measurement else ""
    says = key.control_says or about.rstrip(". ")
    if key.percent:
        return KeyPair(number.as_percent(), key.says, control and control.as_percent(), says)
    return KeyPair(number, key.says, control, says)


def _control(key: KeyNumber, number: Number, find: Callable[[str, str], Number]) -> Number | None:
    if key.control:
        return find(key.control, "")
    return number.control() if number.measurement and number.measurement.control else None


def key_pair_in_words(pair: KeyPair, escape: Callable[[object], Markup]) -> Markup:
    """`0.81 (95 % CI ...): features that both share. Control: 0.03 (...), sources shuffled`."""
    said = number_in_words(pair.number, escape) + Markup(": ") + escape(pair.says)
    if pair.control is None:
        return said
    control = Markup(". Control: ") + number_in_words(pair.control, escape)
    return said + control + (Markup(", ") + escape(pair.control_says) if pair.control_says else "")


def wrong_key_numbers(ledger: Ledger, spec_path: Path) -> Iterator[EngineError]:
    """What the key numbers of a spec name that no run has measured, with the nearest that one has."""
    for at, key in enumerate(ledger.spec.key_numbers):
        for name, written in (("number", key.number), ("control", key.control)):
            try:
                if written:
                    ledger.number(written, where=f"{spec_path}: key_numbers[{at}].{name}")
            except EngineError as error:
                yield error


def concerns_of_key_numbers(
    pairs: Sequence[KeyPair], in_headline: Sequence[Number], spec_path: Path
) -> list[Concern]:
    """A concern for each key number that stands without a control, or otherwise than in the headline."""
    concerns: list[Concern] = []
    as_percent = {number.name: number.percent for number in in_headline}
    for at, pair in enumerate(pairs):
        where = f"{spec_path}: key_numbers[{at}]"
        name = pair.number.name
        if pair.control is None and _wants_control(pair.number):
            message = f"{name} names no control by itself: name what it is read against, as `control:`"
            concerns.append(Concern("key-number-without-control", where, message))
        if as_percent.get(name, pair.number.percent) != pair.number.percent:
            there = "a percentage" if as_percent[name] else "no percentage"
            message = f"{name} is {there} in the headline: write it the same way, by `percent:`"
            concerns.append(Concern("number-written-two-ways", where, message))
    return concerns


def _wants_control(number: Number) -> bool:
    """Whether it is an estimate that was made; a count by design is read against nothing."""
    return number.measurement is not None and not number.measurement.exact
