"""What an experiment may ask of its lab."""

import pytest

from engine.errors import SpecError
from engine.evidence.result import Result
from engine.lab.lab import Lab, Point
from engine.models.micro import micro_model


def test_a_family_that_needs_prompts_says_so():
    with pytest.raises(SpecError, match="needs prompts"):
        Lab(micro_model()).known_facts()


def test_a_family_that_needs_a_corpus_says_so():
    with pytest.raises(SpecError, match="smollm2-samples"):
        Lab(micro_model()).text()


def test_a_missing_role_is_named():
    lab = Lab(micro_model(), uses={"lens": {(): Result()}})
    assert lab.used("lens") is lab.uses["lens"][()]
    with pytest.raises(SpecError, match=r"uses: \{patching: NAME\}"):
        lab.used("patching")


def test_a_swept_experiment_is_used_point_by_point():
    swept: dict[Point, Result] = {(("seed", seed),): Result() for seed in (0, 1)}
    lab = Lab(micro_model(), uses={"saes": swept})
    assert lab.used_points("saes") == swept
    with pytest.raises(SpecError, match="a sweep of 2 points"):
        lab.used("saes")
