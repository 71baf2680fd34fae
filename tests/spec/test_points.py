import pytest
from pydantic import ValidationError

from engine.errors import SpecError
from engine.spec.models import Experiment, PromptChoice, Spec
from engine.spec.points import (
    experiment_order,
    n_points,
    normalised,
    params_at,
    point_label,
    points,
    with_point,
)


def test_points_are_the_product_in_the_order_written():
    experiment = Experiment(family="coder", parameters={"n_features": 8}, sweep={"k": [2, 4], "seed": [0, 1]})
    assert points(experiment) == [
        {"k": 2, "seed": 0},
        {"k": 2, "seed": 1},
        {"k": 4, "seed": 0},
        {"k": 4, "seed": 1},
    ]
    assert n_points(experiment) == 4
    assert point_label("layer0", {"k": 2, "seed": 0}) == "layer0[k=2,seed=0]"
    assert with_point(experiment, {"k": 2}).parameters == {"n_features": 8, "k": 2}
    assert with_point(experiment, {"k": 2}).sweep == {}


def test_without_a_sweep_there_is_one_point():
    assert points(Experiment(family="lens")) == [{}]
    assert n_points(Experiment(family="lens")) == 1
    assert point_label("lens", {}) == "lens"


def test_however_it_is_written_the_same_experiment_is_normalised_the_same(catalog):
    short = Experiment.model_validate({"family": "lens", "prompts": "facts"})
    long = Experiment(
        family="lens",
        name="my lens",
        models=["gpt2"],
        prompts=PromptChoice(name="facts", limit=None),
        parameters={"sites": ["resid_pre"], "fit": {"rate": 0.1}},
        sweep={"commit_rank": [0, 1]},
    )
    assert normalised(short, {}, catalog) == normalised(long, {"commit_rank": 0}, catalog)
    assert normalised(short, {}, catalog) != normalised(long, {"commit_rank": 1}, catalog)
    assert normalised(short, {}, catalog)["parameters"]["fit"] == {"rate": 0.1}


def test_parameters_are_never_coerced(catalog):
    whole = Experiment(family="coder", parameters={"n_features": 64, "learning_rate": 1})
    assert params_at(whole, {}, catalog).model_dump()["learning_rate"] == 1.0
    with pytest.raises(ValidationError):
        params_at(whole, {"k": "8"}, catalog)


def spec_of(**uses: list[str]) -> Spec:
    experiments = {
        name: Experiment(family="lens", uses={f"r{i}": u for i, u in enumerate(used)})
        for name, used in uses.items()
    }
    return Spec(title="t", question="q", models=["m"], experiments=experiments)


def test_experiments_run_after_what_they_use():
    order = experiment_order(spec_of(d=["b", "c"], c=["a"], b=["a"], a=[], e=[]))
    assert sorted(order) == ["a", "b", "c", "d", "e"]
    assert order.index("a") < min(order.index("b"), order.index("c"))
    assert max(order.index("b"), order.index("c")) < order.index("d")


def test_a_circle_of_uses_is_refused():
    with pytest.raises(
        SpecError, match=r"a uses b uses c uses a|b uses c uses a uses b|c uses a uses b uses c"
    ):
        experiment_order(spec_of(a=["b"], b=["c"], c=["a"]))


def test_a_prompt_choice_asks_for_what_it_asked_for_before_there_were_rows(catalog):
    asked = normalised(Experiment.model_validate({"family": "lens", "prompts": "facts"}), {}, catalog)
    assert asked["prompts"] == {"name": "facts", "relations": None, "limit": None, "clusters": None}


def test_rows_of_a_spec_are_asked_for_by_their_hash(catalog):
    def asked(*rows: dict) -> str:
        experiment = Experiment.model_validate({"family": "lens", "prompts": {"rows": list(rows)}})
        return normalised(experiment, {}, catalog)["prompts"]["rows"]

    row = {"prompt": "a", "answer": "b"}
    assert asked(row).startswith("1 rows, ")
    assert asked(row) == asked(dict(reversed(row.items())))
    assert len({asked(row), asked(row, row), asked(row | {"answer": "c"})}) == 3
