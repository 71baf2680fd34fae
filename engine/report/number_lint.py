"""Numbers that are read against nothing, and superlatives beside numbers that are not the extreme.

- A headline that prints a finding with a control prints the control too, in the same sentence or another.
- A sentence with a superlative (strongest, largest, best, most, lowest, ...) prints a number that stands in
  a table of its experiment: in some column there it is the largest, or for `lowest`, `smallest`, `least`,
  `weakest` the smallest, among all rows or among those that share its words (a facet, a token).
- The same beside a layer or head that was chosen: nearly every resample of what chose must choose it again.

A number that stands in no table is not looked at, nor is a table row that the text writes by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from engine.evidence.result import Measurement
from engine.report.lint import Concern
from engine.report.numbers import Number
from engine.report.prose import VALUE, blanked, line_at, without_code, without_tags

LARGEST = "strongest largest highest biggest greatest best"
SMALLEST = "lowest smallest weakest least worst"
_SUPERLATIVE = re.compile(rf"\b({'|'.join(f'{LARGEST} {SMALLEST}'.split())})\b", re.I)
# `most` is a superlative where nothing follows that it counts: `restores most`, and not `most features`.
_MOST = re.compile(r"(?<!\bat )(?<!\bAt )\b(most)\b(?=\s*(?:[.,;:)]|$))")
_SENTENCE = re.compile(r"(?:[^.!?\n]|[.!?](?!\s)|\n(?![ \t]*(?:\n|[|#>*-])))+[.!?]?")
_ROW = re.compile(r"^[ \t]*\|.*$", re.M)
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.S)
_SET = re.compile(r"\{%-?\s*set\b.*?%\}|\{%-?\s*macro\b.*?\{%-?\s*endmacro\s*-?%\}", re.S)
SAME = 1e-5  # relative: published values have six digits
STEADY = 0.975  # share of resamples that choose the same place, as for any verdict


def headline_without_control(printed: Sequence[Number], where: str) -> list[Concern]:
    """A concern for each finding of a headline whose control the headline does not print."""
    names = {number.name for number in printed}
    concerns = []
    for number in printed:
        control = number.measurement.control if number.measurement else ""
        beside = number.beside(control)
        if control and beside not in names:
            message = f"{number.name} stands without its control: print {{{{ {beside} }}}} beside it"
            concerns.append(Concern("headline-without-control", where, message))
    return list(dict.fromkeys(concerns))


def superlatives(text: str, where: str, printed_by: Callable[[str], list[Number]]) -> list[Concern]:
    """A concern for each sentence with a superlative beside a number that is not the extreme.

    `printed_by` gives the numbers that a piece of template prints.
    """
    prose = blanked(without_code(without_tags(text, where)), _ROW)
    # A sentence is printed by itself, and may use what the template set before it.
    settings = "".join(_SET.findall(text))
    concerns = []
    for sentence in _SENTENCE.finditer(prose):
        word = _SUPERLATIVE.search(sentence[0]) or _MOST.search(sentence[0])
        if word is None or VALUE not in sentence[0]:
            continue
        expressions = _EXPRESSION.findall(text[sentence.start() : sentence.end() + 1])
        line = line_at(prose, sentence.start() + word.start())
        for number in printed_by(settings + "".join(expressions)):
            if message := _not_the_extreme(number, word[1].lower()):
                concerns.append(Concern("not-the-extreme", f"{where}:{line}", message))
    return list(dict.fromkeys(concerns))


def _not_the_extreme(number: Number, word: str) -> str:
    """Why a number is no extreme; empty where it is one, or nothing is known of it."""
    measurement = number.measurement
    if measurement is None:
        return ""
    if measurement.is_choice:
        return _unsteady(number.name, measurement, word)
    largest = word not in SMALLEST.split()
    value = measurement.value
    places = list(_columns_with(value, number.entry.tables))
    if not places or any(_is_extreme(table, column, value, largest) for _, table, column in places):
        return ""
    end = "largest" if largest else "smallest"
    return (
        f"{word!r} stands beside {number.name}, which is in table {places[0][0]} and is not its {end}: "
        "say among which it is, or how often it comes out"
    )


def _unsteady(name: str, measurement: Measurement, word: str) -> str:
    if measurement.frequency is None or measurement.frequency >= STEADY:
        return ""
    return (
        f"{word!r} stands beside the choice {name}, which {measurement.frequency:.0%} of the resamples "
        "choose: say where it was chosen, and how often"
    )


def _columns_with(
    value: float, tables: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """The tables by name, and their columns of numbers, in which a value stands."""
    for name, table in tables.items():
        # Ends of intervals, and whole numbers, which number the rows, are extremes of nothing.
        for column in table.select_dtypes("float").columns.difference(["low", "high"]):
            if np.isclose(table[column], value, rtol=SAME, atol=0).any():
                yield name, table, str(column)


def _is_extreme(table: pd.DataFrame, column: str, value: float, largest: bool) -> bool:
    """Whether a value is the extreme of a column, or of the rows that share the words of its own row."""
    words = [name for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    here = np.isclose(table[column], value, rtol=SAME, atol=0)
    groups = [pd.Series(True, index=table.index)]
    groups += [table[name] == table.loc[here, name].iloc[0] for name in words]
    if words:
        groups.append((table[words] == table.loc[here, words].iloc[0]).all(axis=1))
    for rows in groups:
        values = table.loc[rows, column]
        end = values.max() if largest else values.min()
        # A row that shares its words with no other is the extreme of itself, which says nothing.
        if len(values) > 1 and np.isclose(end, value, rtol=SAME, atol=0):
            return True
    return False
