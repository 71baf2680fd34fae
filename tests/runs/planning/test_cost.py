"""Where an estimate is from: the nearest past run speaks first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.runs.planning.cost import Amounts, Costs, PastRun, guessed_seconds
from engine.runs.sources import ModelFacts
from engine.runs.store.record import RunName

GUESS = "the size of the model and of what it reads, a guess"
FACTS = ModelFacts("aa", 4, 200, 0, 1000, True)


def named(experiment: str = "lens", model: str = "big", slug: str = "facts") -> RunName:
    return RunName(slug, experiment, (), model)


def past(name: RunName, seconds: float, **more) -> PastRun:
    return PastRun(
        name, **{"family": "lens", "seconds": seconds, "experiment": {}, "parameters": 100, **more}
    )


def test_the_nearest_past_run_speaks_first() -> None:
    own, like = past(named(), 30, run_id=3), past(named("other", "small"), 10, run_id=2)
    published = past(named(), 50)
    for costs, seconds, basis in [
        (Costs((like, own), (published,)), 30, "run 3 here"),
        (Costs((like,), (published,)), 50, "published"),
        (Costs((like,), ()), 20, "lens here, on small"),  # twice the parameters
        (Costs((), (past(named("other", "small"), 10),)), 20, "lens as published"),
        (Costs(()), guessed_seconds(FACTS, {}, Amounts()), GUESS),
    ]:
        estimate = costs.estimate(named(), "lens", {}, FACTS)
        assert estimate.is_guess == basis.endswith("a guess")
        assert (estimate.seconds, estimate.basis) == (max(seconds, 0.01), basis)


def test_a_slower_machine_shows_in_what_is_published() -> None:
    both = named("other")
    costs = Costs((past(both, 20, family="x"),), (past(both, 10, family="x"), past(named(), 40)))
    assert costs.machine_factor == 2
    assert costs.estimate(named(), "lens", {}, FACTS).seconds == 80


def test_seconds_grow_with_the_data_where_both_amounts_are_known() -> None:
    costs = Costs((past(named(), 30, experiment={"prompts": {"name": "facts", "limit": 50}}),))
    more = {"prompts": {"name": "facts", "limit": 100}}
    assert costs.estimate(named(), "lens", more, FACTS).seconds == 60
    assert costs.estimate(named(), "lens", {"prompts": {"name": "facts"}}, FACTS).seconds == 30


def test_memory_is_the_peak_of_past_runs_of_the_family_on_the_model() -> None:
    costs = Costs((past(named("a"), 1, peak_bytes=700), past(named("b", "small"), 1, peak_bytes=900)))
    assert costs.estimate(named("c"), "lens", {}, FACTS).memory_bytes == 700
    assert costs.estimate(named("c"), "other", {}, FACTS).memory_bytes == 1000


# What the families took on two cores, as published: prompts, tokens, epochs, parameters, seconds.
MEASURED = [
    (287, 0, 1, 135e6, 45.8),  # the lens
    (287, 0, 1, 135e6, 28.5),  # direct logit attribution
    (287, 0, 1, 135e6, 397.2),  # circuit patching
    (287, 0, 1, 494e6, 149.8),
    (0, 20_000, 1, 135e6, 20.6),  # a small dictionary
    (0, 200_000, 1, 135e6, 412.3),  # a large one
    (0, 60_000, 4, 135e6, 252.9),  # a crosscoder
    (0, 20_000, 1, 494e6, 159.2),
    (0, 0, 1, 135e6, 17.6),  # dictionaries compared
]


@pytest.mark.parametrize(("prompts", "tokens", "epochs", "n_params", "seconds"), MEASURED)
def test_a_guess_is_of_the_right_size(
    prompts: int, tokens: int, epochs: int, n_params: float, seconds: float
) -> None:
    facts = replace(FACTS, n_params=int(n_params))
    asked = {"parameters": {"epochs": epochs}}
    estimate = Costs(()).estimate(named(), "lens", asked, facts, Amounts(prompts, tokens))
    assert estimate.is_guess
    assert estimate.low <= seconds <= estimate.high
