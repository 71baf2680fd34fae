from dataclasses import dataclass

import numpy as np
import pytest

from engine.errors import ClaimError
from engine.evidence.bootstrap import count, measure
from engine.evidence.result import Measurement
from engine.evidence.verdicts import Verdict, judge

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Claim:
    holds: str
    requires: tuple[str, ...] = ()


def drawn(*replicates: float) -> Measurement:
    values = np.array(replicates)
    return Measurement("x", float(values.mean()), 0.0, 1.0, 9, "prompt", replicates=values)


def judged(holds: str, *requires: str, **numbers: Measurement) -> Verdict:
    known = {f"run.{name}": m for name, m in numbers.items()}
    return judge("late", Claim(holds, requires), known.get, lambda name: "")


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        (4000, "supported"),
        (3900, "supported"),
        (3899, "undetermined"),
        (101, "undetermined"),
        (100, "contradicted"),
    ],
)
def test_a_verdict_is_the_share_of_replicates_on_which_the_claim_holds(held: int, verdict: str) -> None:
    found = judged("run.x > 0.5", x=drawn(*[1.0] * held, *[0.0] * (4000 - held)))
    assert (found.claim, found.verdict, found.share) == ("late", verdict, held / 4000)


def test_a_claim_at_the_end_of_an_interval_agrees_with_it() -> None:
    m = measure("x", RNG.normal(size=30), unit="prompt")
    assert m.low is not None and m.high is not None
    assert judged(f"run.x > {m.low - 1e-3}", x=m).verdict == "supported"
    assert judged(f"run.x > {m.low + 1e-3}", x=m).verdict == "undetermined"
    assert judged(f"run.x > {m.high + 1e-3}", x=m).verdict == "contradicted"


def test_the_same_units_are_compared_in_pairs_and_others_apart() -> None:
    late, more = RNG.normal(size=50), 0.1 + 0.02 * RNG.normal(size=50)
    here = {"x": measure("x", late, unit="prompt"), "y": measure("y", late + more, unit="prompt")}
    assert judged("run.y > run.x", **here).verdict == "supported"
    elsewhere = measure("y", late + more, unit="prompt", ids=[f"other {i}" for i in range(50)])
    assert judged("run.y > run.x", **here | {"y": elsewhere}).verdict == "undetermined"
    assert judged("run.x - run.x == 0", **here).share == 1


def test_counts_are_constants() -> None:
    kept = count("kept", 150, unit="prompt")
    assert judged("run.kept >= 150", kept=kept).verdict == "supported"
    assert judged("run.kept > 150", kept=kept).verdict == "contradicted"
    assert judged("run.x < run.kept", kept=kept, x=drawn(149, 149, 149)).share == 1


def test_until_what_it_requires_is_supported_a_claim_is_undetermined() -> None:
    numbers = {"x": drawn(1, 1, 1, 1), "chance": drawn(0, 2, 0, 2), "nothing": drawn(0, 0, 0, 0)}
    assert judged("run.x > 0", "run.x > run.nothing", **numbers).verdict == "supported"
    found = judged("run.x > 0", "run.x > run.nothing", "run.x > run.chance", **numbers)
    assert (found.verdict, found.share) == ("undetermined", 1)
    assert found.reason == "requires run.x > run.chance, which is undetermined (holds in 50.0% of replicates)"
    assert "requires run.x < 0, which is contradicted" in judged("run.x > 0", "run.x < 0", **numbers).reason
    assert "which is unmeasured: run.y is not measured" in judged("run.x > 0", "run.y > 0", **numbers).reason


def test_a_failed_check_leaves_a_claim_undetermined() -> None:
    found = judge("late", Claim("run.x > 0"), lambda name: drawn(1, 1), lambda name: "check parity failed")
    assert (found.verdict, found.share, found.reason) == ("undetermined", None, "check parity failed")


def test_a_number_that_is_not_there_leaves_a_claim_unmeasured() -> None:
    found = judged("run.x > run.y", x=drawn(1, 1))
    assert (found.verdict, found.share, found.reason) == ("unmeasured", None, "run.y is not measured")


def test_a_withheld_interval_leaves_a_claim_undetermined() -> None:
    found = judged("run.x > 0", x=measure("x", [1.0, 2.0, 3.0], unit="seed"))
    assert found.verdict == "undetermined"
    assert found.reason.startswith("run.x has no interval: Only 3 seeds")


@pytest.mark.parametrize(
    ("divisor", "reason"),
    [
        (drawn(-1, 1, 2, -2), "run.x / run.y divides by zero"),
        (drawn(0, 1, 2, 3), "run.x / run.y divides by zero in 1 of 4 replicates"),
    ],
)
def test_a_claim_that_divides_by_zero_is_undetermined(divisor: Measurement, reason: str) -> None:
    found = judged("run.x / run.y > 1", x=drawn(1, 1, 1, 1), y=divisor)
    assert (found.verdict, found.reason) == ("undetermined", reason)


def test_a_claim_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ClaimError):
        judged("run.x >", x=drawn(1, 1))


def test_a_true_null_is_called_supported_as_rarely_as_promised() -> None:
    rng, called = np.random.default_rng(0), []
    for draw in range(500):
        m = measure("x", rng.normal(size=20), unit="prompt", ids=[f"{draw // 25} {i}" for i in range(20)])
        called.append(judged("run.x > 0", x=m).verdict)
    for verdict in ("supported", "contradicted"):
        assert called.count(verdict) / 500 <= 0.025 + 2 * 0.007  # two Monte-Carlo errors
