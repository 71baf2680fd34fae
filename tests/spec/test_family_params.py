"""What all parameters keep: unknown keys, impossible numbers and more k than latents are refused."""

import pytest
from pydantic import ValidationError

from engine.spec.family_params import FamilyParams, HarvestParams, SeedParams, TrainingParams


class Mine(SeedParams):
    depth: float = 0.5
    """How deep."""


def test_an_unknown_key_is_refused_and_docstrings_describe_the_fields():
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Mine.model_validate({"dept": 0.5})
    assert issubclass(Mine, FamilyParams)
    assert Mine.model_fields["depth"].description == "How deep."
    shared = {**HarvestParams.model_fields, **TrainingParams.model_fields}
    assert all(field.description for field in shared.values())


@pytest.mark.parametrize(
    ("params", "given"),
    [
        (SeedParams, {"seed": -1}),
        (HarvestParams, {"tokens": 0}),
        (HarvestParams, {"context_tokens": 1}),
        (HarvestParams, {"held_out": 0.0}),
        (HarvestParams, {"held_out": 1.0}),
        (TrainingParams, {"n_features": 0}),
        (TrainingParams, {"k": 0}),
        (TrainingParams, {"epochs": 0}),
        (TrainingParams, {"lr": 0.0}),
        (TrainingParams, {"batch_size": 0}),
    ],
)
def test_a_number_with_which_nothing_could_be_measured_is_refused_at_its_field(params, given):
    with pytest.raises(ValidationError) as caught:
        params.model_validate(given)
    assert [error["loc"] for error in caught.value.errors()] == [tuple(given)]


def test_as_many_active_latents_as_there_are_is_the_most():
    assert TrainingParams(n_features=8, k=8).k == 8
    with pytest.raises(ValidationError, match="k = 9 is more than n_features = 8"):
        TrainingParams(n_features=8, k=9)
