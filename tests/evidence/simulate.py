"""How often each kind of interval misses the truth, by statistic, data and number of units.

    python -m tests.evidence.simulate [--repetitions 1000] [--jobs 2] [--only TEXT]
    python -m tests.evidence.simulate --page                                   the page again from its numbers

Each case draws its data anew in every repetition and measures them as a family would. The table is printed,
and its rows take the place of those in site/reading-the-evidence/coverage.json, from which every number of
the page beside it is made.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from engine.evidence.bootstrap import difference, measure, rate
from engine.evidence.result import Measurement

SITE = Path(__file__).parents[2] / "site" / "reading-the-evidence"
NUMBERS = SITE / "coverage.json"
PAGE = SITE / "how-far-to-trust-the-intervals.md"
SURE = 0.975
OFTEN = 0.8
"""Where the interval is withheld more often than this, what is left is too few to tell a coverage."""
LOW_LEVEL = 0.005
"""A level at which the parts of a compound claim are judged: 2.5 % shared among five."""

Measured = Measurement | np.ndarray
"""A measurement, or the replicates of a comparison of two as a claim makes it."""


@dataclass(frozen=True)
class Case:
    """One row of the table: `measured` gives one data set's number, whose true value is `truth`."""

    statistic: str
    data: str
    units: str
    n: int
    truth: float
    measured: Callable[[np.random.Generator], Measured]
    promised: bool = True
    """Whether the interval claims to cover such data: not where no sample shows what is odd about them."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: fractions of the repetitions, and of those with an interval where so named."""

    statistic: str
    data: str
    units: str
    n: int
    repetitions: int
    withheld: float
    coverage: float | None  # of the intervals given
    lower_miss: float  # of all repetitions: the interval lies above the truth
    upper_miss: float  # the interval lies below it
    false_verdict: float  # the larger share of `> truth` and `< truth` that is called supported
    false_verdict_low_level: float  # the same, asked at 0.5 % in place of 2.5 %
    width: float | None  # in the median, over Student's interval of the same rows, where there is one
    promised: bool


def outcome(case: Case, repetitions: int) -> Outcome:
    """The case, measured in as many data sets; the same seed, so that two versions see the same data."""
    rng = np.random.default_rng([len(case.data), case.n, *case.statistic.encode()])
    found = [_seen(case, rng) for _ in range(repetitions)]
    given = np.array([f for f in found if f is not None]).reshape(-1, 6)
    share = given.sum(axis=0) / repetitions
    above, below = share[0], share[1]
    n_given = len(given)
    return Outcome(
        case.statistic,
        case.data,
        case.units,
        case.n,
        repetitions,
        withheld=1 - n_given / repetitions,
        coverage=1 - float(given[:, :2].sum()) / n_given if n_given else None,
        lower_miss=float(above),
        upper_miss=float(below),
        false_verdict=float(max(share[2], share[3])),
        false_verdict_low_level=float(share[4]),
        width=float(np.nanmedian(given[:, 5])) if n_given and np.isfinite(given[:, 5]).any() else None,
        promised=case.promised,
    )


def _seen(case: Case, rng: np.random.Generator) -> tuple[float, ...] | None:
    """(misses above, below, `> truth` supported, `< truth` supported, either at the low level, width)."""
    m = case.measured(rng)
    replicates = m.replicates if isinstance(m, Measurement) else m
    if replicates is None:
        return None
    low, high = np.quantile(replicates, [1 - SURE, SURE])
    over = (replicates > case.truth).mean()
    under = (replicates < case.truth).mean()
    slack = 1e-12 * max(1.0, abs(case.truth))
    return (
        low > case.truth + slack,
        high < case.truth - slack,
        over >= SURE,
        under >= SURE,
        max(over, under) >= 1 - LOW_LEVEL,
        (high - low) / _student_width(m) if isinstance(m, Measurement) else np.nan,
    )


def _student_width(m: Measurement) -> float:
    """The width of Student's interval, for the mean of one row for each unit; else NaN."""
    rows = m.samples
    if m.statistic != "mean" or rows is None or rows.ndim != 1 or len(rows) != m.n or np.ptp(rows) == 0:
        return np.nan
    return 2 * stdtrit(m.n - 1, SURE) * rows.std(ddof=1) / np.sqrt(m.n)


Draw = Callable[[np.random.Generator, int], np.ndarray]
SOURCES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "uniform": (lambda rng, n: rng.uniform(-1, 1, size=n), 0.0),
    "t, 3 degrees": (lambda rng, n: rng.standard_t(3, size=n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0),
    "lognormal": (lambda rng, n: rng.lognormal(size=n), float(np.exp(0.5))),
    "70 % zeros": (lambda rng, n: rng.exponential(size=n) * (rng.random(n) < 0.3), 0.3),
    "90 % zeros": (lambda rng, n: rng.exponential(size=n) * (rng.random(n) < 0.1), 0.1),
    "counts about 1": (lambda rng, n: rng.poisson(1, size=n).astype(float), 1.0),
}
ODD: tuple[Draw, float] = (lambda rng, n: rng.normal(size=n) + 10 * (rng.random(n) < 0.1), 1.0)


def cases() -> Iterator[Case]:
    """All rows of the table, in its order."""
    yield from _means()
    yield from _comparisons()
    yield from _fractions_and_medians()
    yield from _ratios_and_correlations()
    yield from _functions()
    yield from _pairs()
    yield from _clusters()


def _means() -> Iterator[Case]:
    for data, (draw, truth) in SOURCES.items():
        for n in (5, 6, 8, 12, 20, 50, 200):

            def mean(rng: np.random.Generator, draw: Draw = draw, n: int = n) -> Measured:
                return measure("score", draw(rng, n), unit="prompt")

            yield Case("mean", data, "prompts", n, truth, mean)
    for n in (5, 10):

        def odd(rng: np.random.Generator, n: int = n) -> Measured:
            return measure("score", ODD[0](rng, n), unit="seed")

        yield Case("mean", "one odd in ten", "seeds", n, ODD[1], odd, promised=False)


def _comparisons() -> Iterator[Case]:
    """Numbers over the same units, subtracted row by row or compared by a claim."""
    for n in (6, 12, 50, 200):

        def paired(rng: np.random.Generator, n: int = n) -> Measured:
            base = rng.normal(size=n)
            gain = rng.lognormal(size=n) - np.exp(0.5)
            return difference("gain", base + gain, base, unit="prompt")

        yield Case("paired difference", "lognormal", "prompts", n, 0.0, paired)

        def claimed(rng: np.random.Generator, n: int = n) -> Measured:
            base = 3 * rng.normal(size=n)
            return _compared(base + rng.normal(size=n), base)

        yield Case("claim a > b", "normal gain, 3 times as much shared", "prompts", n, 0.0, claimed)

        def skewed(rng: np.random.Generator, n: int = n) -> Measured:
            return _compared(rng.lognormal(size=n), np.exp(0.5) + rng.normal(size=n))

        yield Case("claim a > b", "lognormal against normal", "prompts", n, 0.0, skewed)


def _compared(one: np.ndarray, other: np.ndarray) -> np.ndarray | Measurement:
    first = measure("a", one, unit="prompt")
    second = measure("b", other, unit="prompt")
    if first.replicates is None or second.replicates is None:
        return first if first.replicates is None else second
    return first.replicates - second.replicates


def _fractions_and_medians() -> Iterator[Case]:
    for truth in (0.5, 0.1, 0.01):
        for n in (6, 12, 50, 200):

            def fraction(rng: np.random.Generator, truth: float = truth, n: int = n) -> Measured:
                return measure("known", rng.random(n) < truth, unit="prompt")

            yield Case("fraction", f"{100 * truth:g} %", "prompts", n, truth, fraction)
    medians: dict[str, tuple[Draw, float]] = {
        "normal": SOURCES["normal"],
        "lognormal": (SOURCES["lognormal"][0], 1.0),
        "ties": (lambda rng, n: rng.poisson(5, size=n).astype(float), 5.0),
    }
    for data, (draw, truth) in medians.items():
        for n in (6, 12, 20, 50):

            def median(rng: np.random.Generator, draw: Draw = draw, n: int = n) -> Measured:
                return measure("layer", draw(rng, n), "median", unit="prompt")

            yield Case("median", data, "prompts", n, truth, median)


def _ratios_and_correlations() -> Iterator[Case]:
    for n in (6, 12, 20, 50):

        def ratio(rng: np.random.Generator, n: int = n) -> Measured:
            total = rng.gamma(4, size=n)
            return rate("explained", total * (0.7 + 0.1 * rng.normal(size=n)), total, unit="prompt")

        yield Case("ratio", "gamma under it", "prompts", n, 0.7, ratio)

        def skewed(rng: np.random.Generator, n: int = n) -> Measured:
            total = rng.lognormal(size=n)
            return rate("explained", total * rng.exponential(size=n), total, unit="prompt")

        yield Case("ratio", "lognormal under it", "prompts", n, 1.0, skewed)
    truths = {"pearson": 0.6, "spearman": float(6 / np.pi * np.arcsin(0.3))}
    for statistic, truth in truths.items():
        for n in (6, 12, 20, 50):

            def correlation(rng: np.random.Generator, s: str = statistic, n: int = n) -> Measured:
                x, noise = rng.normal(size=(2, n))
                return measure("r", np.column_stack([x, 0.6 * x + 0.8 * noise]), s, unit="prompt")

            yield Case(statistic, "normal", "prompts", n, truth, correlation)


def standard_deviation(rows: np.ndarray) -> float:
    centred = rows - rows.sum() / len(rows)
    return float(np.sqrt(centred @ centred / (len(rows) - 1)))


def percentile_90(rows: np.ndarray) -> float:
    # numpy's default rule, without its overhead: 4000 calls for each data set.
    at = 0.9 * (len(rows) - 1)
    below = int(at)
    ordered = np.sort(rows)
    above = ordered[min(below + 1, len(rows) - 1)]
    return float(ordered[below] + (at - below) * (above - ordered[below]))


def _functions() -> Iterator[Case]:
    truths = {
        (standard_deviation, "normal"): 1.0,
        (standard_deviation, "exponential"): 1.0,
        (percentile_90, "normal"): 1.2815515655446004,
        (percentile_90, "exponential"): float(np.log(10)),
    }
    for (function, data), truth in truths.items():
        for n in (5, 8, 12, 20, 50):
            draw = SOURCES[data][0]

            def own(rng: np.random.Generator, f=function, draw: Draw = draw, n: int = n) -> Measured:
                return measure("spread", draw(rng, n), f, unit="prompt")

            label = function.__name__.replace("_", " ")
            yield Case(f"function: {label}", data, "prompts", n, truth, own)


def _pairs() -> Iterator[Case]:
    for data in ("normal", "lognormal"):
        draw, mean = SOURCES[data]
        for n in (5, 6, 8, 10, 20):
            pairs = np.column_stack(np.triu_indices(n, 1))

            def match(rng: np.random.Generator, draw: Draw = draw, n: int = n, pairs=pairs) -> Measured:
                of_seed = draw(rng, n)
                rows = of_seed[pairs].sum(axis=1) + 0.3 * rng.normal(size=len(pairs))
                return measure("match", rows, unit="seed", clusters=pairs)

            yield Case("mean over pairs", data, "seeds", n, 2 * mean, match)


def _clusters() -> Iterator[Case]:
    """Rows in clusters of 5 to 20, by the share of their variance that clusters have in common."""
    for statistic in ("mean", "fraction", "rare fraction", "median", "ratio"):
        for shared in (0.05, 0.4):
            for n in (6, 8, 12, 24):

                def clustered(
                    rng: np.random.Generator, s: str = statistic, shared: float = shared, n: int = n
                ) -> Measured:
                    clusters = np.repeat(np.arange(n), rng.integers(5, 21, size=n))
                    common = np.sqrt(shared) * rng.normal(size=n)[clusters]
                    rows = common + np.sqrt(1 - shared) * rng.normal(size=len(clusters))
                    if s == "fraction":
                        rows = rows > 0.5244005127080407  # so that 30 % of rows are true
                    if s == "rare fraction":
                        rows = rows > 1.2815515655446004  # 10 %
                    if s == "ratio":
                        total = rng.gamma(4, size=len(rows))
                        rows = np.column_stack([total * (0.7 + 0.1 * rows), total])
                    return measure("score", rows, s.split()[-1], unit="relation", clusters=clusters)

                truth = {"fraction": 0.3, "rare fraction": 0.1, "ratio": 0.7}.get(statistic, 0.0)
                data = f"{100 * shared:g} % of variance shared"
                yield Case(f"{statistic}, clustered", data, "clusters", n, truth, clustered)
    for n in (6, 8, 12, 24):

        def skewed(rng: np.random.Generator, n: int = n) -> Measured:
            clusters = np.repeat(np.arange(n), rng.integers(5, 21, size=n))
            rows = rng.lognormal(size=n)[clusters] + rng.normal(size=len(clusters))
            return measure("score", rows, unit="relation", clusters=clusters)

        yield Case("mean, clustered", "lognormal clusters", "clusters", n, float(np.exp(0.5)), skewed)


def _outcome_at(place: int, repetitions: int) -> Outcome:
    """By its place in the table, since the functions of a case go to no other process."""
    return outcome(list(cases())[place], repetitions)


Column = tuple[str, Callable[[Outcome], str]]
COLUMNS: tuple[Column, ...] = (
    ("data", lambda o: o.data),
    ("n", lambda o: f"{o.n} {o.units}"),
    ("interval too low", lambda o: percent(o.upper_miss)),
    ("too high", lambda o: percent(o.lower_miss)),
    ("coverage", lambda o: percent(o.coverage)),
    ("false verdicts", lambda o: percent(o.false_verdict)),
    ("at 0.5 %", lambda o: percent(o.false_verdict_low_level)),
    ("no interval", lambda o: percent(o.withheld) if o.withheld else ""),
    ("width", lambda o: "" if o.width is None else f"{o.width:.2f}"),
)


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def table(outcomes: Sequence[Outcome]) -> str:
    """A heading and a Markdown table for each statistic."""
    parts = []
    for statistic in dict.fromkeys(o.statistic for o in outcomes):
        lines = [[made(o) for _, made in COLUMNS] for o in outcomes if o.statistic == statistic]
        head = [[title for title, _ in COLUMNS], ["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)]
        text = "\n".join("| " + " | ".join(cells) + " |" for cells in [*head, *lines])
        parts.append(f"### {statistic.capitalize()}\n\n{text}")
    return "\n\n".join(parts)


def summary(outcomes: Sequence[Outcome]) -> str:
    """The worst that was seen of each statistic, where an interval is promised and often given."""
    kept = [o for o in outcomes if o.promised]
    lines = [
        "| statistic | n | worst side | worst coverage | false verdicts |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for statistic in dict.fromkeys(o.statistic for o in kept):
        rows = [o for o in kept if o.statistic == statistic]
        sizes = f"{min(o.n for o in rows)} to {max(o.n for o in rows)}"
        side = max(max(o.lower_miss, o.upper_miss) for o in rows)
        covered = min(
            (o.coverage for o in rows if o.coverage is not None and o.withheld < OFTEN), default=None
        )
        false = max(o.false_verdict for o in rows)
        cells = (statistic, sizes, percent(side), percent(covered), percent(false))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def repetitions(outcomes: Sequence[Outcome]) -> str:
    """How often each case was drawn, and how exact that makes a share."""
    least = min(o.repetitions for o in outcomes)
    most = max(o.repetitions for o in outcomes)
    sizes = f"{least:,} to {most:,}" if least < most else f"{most:,}"
    return (
        f"Each row is {sizes} data sets. Of {most:,}, a share of 2.5 % is known to "
        f"{100 * np.sqrt(0.025 * 0.975 / most):.1f} points (one standard error); of {least:,}, to "
        f"{100 * np.sqrt(0.025 * 0.975 / least):.1f}."
    )


def widths(outcomes: Sequence[Outcome]) -> str:
    """How much wider than Student's the interval of a mean of normal data is."""
    found = {o.n: o.width for o in outcomes if (o.statistic, o.data) == ("mean", "normal")}
    told = [f"{width:.2f} for {n} units" for n, width in found.items() if width is not None]
    return f"Against Student's interval, that of normal data is wider by a factor of {', '.join(told)}."


BLOCKS: dict[str, Callable[[Sequence[Outcome]], str]] = {
    "repetitions": repetitions,
    "summary": summary,
    "widths": widths,
    "table": table,
}


def filled(page: str, outcomes: Sequence[Outcome]) -> str:
    """The page with what stands between its markers made from the outcomes."""
    for name, made in BLOCKS.items():
        start, end = f"<!-- coverage: {name} -->", "<!-- end -->"
        # A block between blank lines is Markdown of its own; a sentence stays in its paragraph.
        gap = " " if name == "widths" else "\n"
        text = f"{start}{gap}{made(outcomes) if outcomes else 'Not measured yet.'}{gap}{end}"
        page = re.sub(re.escape(start) + r".*?" + re.escape(end), lambda _, t=text: t, page, flags=re.S)
    return page


def read(numbers: Path = NUMBERS) -> list[Outcome]:
    if not numbers.exists():
        return []
    return [Outcome(**row) for row in json.loads(numbers.read_text())["cases"]]


def merged(old: Sequence[Outcome], new: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of all cases that there are, the new ones where there are any, in the table's order."""
    known = {(o.statistic, o.data, o.n): o for o in [*old, *new]}
    return [known[key] for c in cases() if (key := (c.statistic, c.data, c.n)) in known]


def write(outcomes: Sequence[Outcome], numbers: Path = NUMBERS, page: Path = PAGE) -> None:
    """The numbers, and the page that tells them."""
    rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(o).items()} for o in outcomes]
    # A line for each case, so that a change of one shows as one.
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    numbers.write_text(f'{{"level": {1 - SURE:g}, "cases": [\n  {lines}\n]}}\n')
    page.write_text(filled(page.read_text(), read(numbers)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1, help="how many processes measure beside each other")
    parser.add_argument("--only", default="", help="cases whose statistic, data or n hold this text")
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page again")
    asked = parser.parse_args(arguments)
    found = []
    if not asked.page:
        started = time.monotonic()
        named = enumerate(f"{c.statistic} {c.data} {c.n} {c.units}" for c in cases())
        places = [place for place, name in named if asked.only in name]
        print(" | ".join(["statistic", *(title for title, _ in COLUMNS)]))
        with ProcessPoolExecutor(asked.jobs) as pool:
            for result in pool.map(_outcome_at, places, repeat(asked.repetitions)):
                found.append(result)
                print(" | ".join([result.statistic, *(made(result) for _, made in COLUMNS)]), flush=True)
        print(f"{len(found)} cases in {time.monotonic() - started:.0f} s")
    write(merged(read(), found))


if __name__ == "__main__":
    main()
