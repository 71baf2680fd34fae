"""Measurements as prose sees them: their digits, their interval, and what a template may ask of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from engine.errors import TemplateError, nearest
from engine.evidence.printing import digits, frequency_in_words, sample_in_words
from engine.evidence.result import Measurement
from engine.runs.ledger import Entry, Ledger, Replication
from engine.runs.library import spelled_with_underscores

NumberState = Literal["measured", "published", "unmeasured", "withheld"]
MARKERS = {"unmeasured": "[not measured here]", "withheld": "[withheld: a check failed]"}


class FormattedFloat(float):
    """A float that prints with the digits its interval supports; arithmetic on it gives plain floats."""

    text: str

    def __new__(cls, value: float, text: str) -> FormattedFloat:
        shown = super().__new__(cls, value)
        shown.text = text
        return shown

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Number:
    """A measurement in one place of the text: with its entry, and None where it was not measured.

    `name` has the slug before it where the number is of another investigation than the text. `ledger` is that
    of its investigation. `find(name, model)` finds another number; `show(number)` prints this one with its
    evidence.
    """

    name: str
    measurement: Measurement | None
    entry: Entry
    ledger: Ledger
    find: Callable[[str, str], Number]
    show: Callable[[Number], Markup]
    percent: bool = False

    @property
    def state(self) -> NumberState:
        """Where the number comes from, or why none is shown."""
        if is_withheld(self.entry):
            return "withheld"
        return "unmeasured" if self.measurement is None else self.entry.state

    @property
    def text(self) -> str:
        """The number as prose shows it: digits, or the marker that stands in their place."""
        if self.measurement is None or self.state in MARKERS:
            return MARKERS[self.state]
        return digits_of(self.measurement, self.percent)

    def as_percent(self) -> Number:
        return replace(self, percent=True)

    def on(self, model: str) -> Number:
        return self.find(self.name, model)

    def control(self) -> Number:
        """The number that this one is to be read against."""
        if not (self.measurement and self.measurement.control):
            raise TemplateError(f"{self.name} names no control")
        return self.find(self.beside(self.measurement.control), self.entry.model)

    def beside(self, measurement: str) -> str:
        """How the text names another measurement of the same run."""
        return f"{self.name.rpartition('.')[0]}.{measurement}"

    @property
    def comparison(self) -> Replication | None:
        """The published number beside this one, where it was measured anew."""
        of_run = f"{self.entry.label}.{self.name.rpartition('.')[2]}"
        here = (of_run, self.entry.model)
        return next((c for c in self.ledger.comparisons if (c.name, c.model) == here), None)

    def __html__(self) -> Markup:
        return self.show(self)

    def __str__(self) -> str:
        return self.text

    def read(self, attribute: str) -> Any:
        """What a template may ask of a number; TemplateError with the nearest attributes otherwise."""
        known: dict[str, Callable[[], Any]] = {
            "value": lambda: self._end("value"),
            "low": lambda: self._end("low"),
            "high": lambda: self._end("high"),
            "interval": self._interval,
            "n": lambda: self._about("n"),
            "unit": lambda: self._about("unit"),
            "statistic": lambda: self._about("statistic"),
            "quantity": lambda: self._about("quantity"),
            "about": lambda: self._about("about"),
            "frequency": self._frequency,
            "control": self.control,
            "on": lambda: self.on,
            "model": lambda: self.entry.model,
            "state": lambda: self.state,
            "measured": lambda: self.state not in MARKERS,
        }
        return known_one(f"the number {self.name}", attribute, known)()

    def _end(self, end: str) -> FormattedFloat:
        """One end of the interval, or the value; not a number where it is not to be had."""
        value = None if self.state in MARKERS else getattr(self.measurement, end)
        if value is None or self.measurement is None:
            # Not a number: arithmetic goes on, and neither `> 1` nor `<= 1` holds in a template.
            return FormattedFloat(math.nan, MARKERS.get(self.state, "[no interval]"))
        return FormattedFloat(value, digits(value, self.measurement.low, self.measurement.high))

    def _interval(self) -> str:
        """`0.48 to 0.52`, of a percentage with its sign; a marker where there is none."""
        if self.measurement is None or self.state in MARKERS:
            return MARKERS.get(self.state, "")
        return interval_of(self.measurement, self.percent) or "[no interval]"

    def _frequency(self) -> str:
        """`34 %`: how often resamples of those who chose choose the same again."""
        if self.measurement is None or self.state in MARKERS:
            return MARKERS.get(self.state, "")
        if not self.measurement.is_choice:
            raise TemplateError(f"{self.name} was not chosen", expected="a layer or head that units chose")
        return f"{100 * (self.measurement.frequency or 0):.0f} %"

    def _about(self, field: str) -> Any:
        return MARKERS.get(self.state) or getattr(self.measurement, field)


@dataclass(frozen=True)
class ExperimentNumbers:
    """What an experiment's name gives in a template: `lens.commit_layer`, `layer0["seed=3"].l0`."""

    label: str
    find: Callable[[str, str], Number]

    def read(self, attribute: str) -> Number | ExperimentNumbers:
        if "=" in attribute:
            return ExperimentNumbers(f"{self.label}[{attribute}]", self.find)
        return self.find(f"{self.label}.{attribute}", "")

    def __html__(self) -> Markup:
        raise TemplateError(
            f"{self.label} is an experiment, not a number", expected=f"a number of it, as {self.label}.NAME"
        )


@dataclass(frozen=True)
class InvestigationNumbers:
    """What an investigation's slug gives in a template: its experiments, `fact-recall.lens.commit_layer`."""

    slug: str
    experiments: tuple[str, ...]
    find: Callable[[str, str], Number]

    def read(self, attribute: str) -> ExperimentNumbers:
        # A name with a dash arrives here with an underscore, by which Jinja reads it as one name.
        spelled = {spelled_with_underscores(name): name for name in self.experiments}
        known = known_one(
            f"the investigation {self.slug}", spelled.get(attribute, attribute), self.experiments
        )
        return ExperimentNumbers(f"{self.slug}.{known}", self.find)

    def __html__(self) -> Markup:
        raise TemplateError(
            f"{self.slug} is an investigation, not a number", expected=f"{self.slug}.EXPERIMENT.NAME"
        )


Readable = Number | ExperimentNumbers | InvestigationNumbers
"""What a template may ask things of, by `read` alone."""


def is_withheld(entry: Entry) -> bool:
    """Whether a failed check of a run here keeps the entry's numbers off the page."""
    return entry.state != "published" and any(not check.passed for check in entry.checks)


def failed_checks(entry: Entry) -> str:
    """The failed checks in words."""
    failed = [c for c in entry.checks if not c.passed]
    return "; ".join(
        f"check {c.name} failed: {c.value:.3g}, at most {c.limit:.3g} is allowed" for c in failed
    )


def digits_of(measurement: Measurement, percent: bool = False) -> str:
    """The value with the digits that its interval supports."""
    return _scaled(measurement.value, measurement.low, measurement.high, percent)


def interval_of(measurement: Measurement, percent: bool = False) -> str:
    """`0.48 to 0.52`, or empty where there is none."""
    low = measurement.low
    high = measurement.high
    if low is None or high is None:
        return ""
    return f"{_scaled(low, low, high, percent)} to {_scaled(high, low, high, percent)}"


def _scaled(value: float, low: float | None, high: float | None, percent: bool) -> str:
    if not percent:
        return digits(value, low, high)
    ends = [None if end is None else 100 * end for end in (low, high)]
    return digits(100 * value, *ends) + " %"


def number_in_words(number: Number, escape: Callable[[object], Markup]) -> Markup:
    """`0.50 (95 % CI 0.48 to 0.52, n = 20 prompts)`, with its source where that is not a run here."""
    if number.measurement is None or number.state in MARKERS:
        return Markup(number.text)
    mark = " [published]" if number.state == "published" else ""
    return escape(measurement_in_words(number.measurement, number.percent)) + Markup(mark)


def measurement_in_words(measurement: Measurement, percent: bool) -> str:
    """`0.50 (95 % CI 0.48 to 0.52, n = 20 prompts)`; a count by design is its digits alone.

    The quantity is left to the prose, which has words for it.
    """
    value = digits_of(measurement, percent)
    if measurement.exact:
        return value
    n = f"n = {sample_in_words(measurement)}"
    if measurement.is_choice:
        return f"{value} ({frequency_in_words(measurement)}, {n})"
    interval = interval_of(measurement, percent)
    return f"{value} (95 % CI {interval}, {n})" if interval else f"{value} (no interval, {n})"


def known_one(what: str, name: str, known: Mapping[str, Any] | Iterable[str]) -> Any:
    """`known[name]`, or a TemplateError that says what there is."""
    if name not in known:
        raise TemplateError(
            f"{what} has no {name!r}",
            expected="one of " + ", ".join(map(str, known)),
            seen=str(name),
            near=nearest(str(name), map(str, known)),
        )
    return known[name] if isinstance(known, Mapping) else name
