"""What an experiment may ask of its lab."""

from pathlib import Path

import pytest

from engine.data.prompts import load_prompts
from engine.errors import SpecError
from engine.evidence.result import Result
from engine.lab.lab import Lab, Point, UsedRun
from engine.lab.planted import planted_lab
from engine.models.micro import micro_model
from engine.spec.inputs import CHAT, LABELLED
from engine.spec.models import PromptChoice


def test_a_family_that_needs_prompts_says_so():
    with pytest.raises(SpecError, match="needs prompts"):
        Lab(micro_model()).known_facts()


def test_prompts_are_handed_out_as_what_they_are_and_as_nothing_else():
    rows = [{"text": "red cat", "label": "a"}, {"text": "green dogs", "label": "b"}]
    prompts = load_prompts(PromptChoice.model_validate({"rows": rows}), Path(), LABELLED)
    lab = Lab(micro_model(), prompts)
    assert lab.labelled().labels == ("a", "b")
    with pytest.raises(SpecError, match=r"these prompts are labelled texts(?s:.)*expected: contrasts"):
        lab.contrasts()
    with pytest.raises(SpecError, match="expected: pairs or prompts with answers"):
        lab.tokenized()
    with pytest.raises(SpecError, match="expected: chat requests"):
        lab.chat()


def test_a_family_that_needs_a_corpus_says_so():
    with pytest.raises(SpecError, match="smollm2-samples"):
        Lab(micro_model()).text()


def test_a_missing_role_is_named():
    lab = Lab(micro_model(), uses={"lens": {(): UsedRun(Result())}})
    assert lab.used("lens") is lab.uses["lens"][()].result
    with pytest.raises(SpecError, match=r"uses: \{patching: NAME\}"):
        lab.used("patching")


def test_a_swept_experiment_is_used_point_by_point():
    swept: dict[Point, UsedRun] = {(("seed", seed),): UsedRun(Result()) for seed in (0, 1)}
    lab = Lab(micro_model(), uses={"saes": swept})
    assert lab.used_runs("saes") == swept
    with pytest.raises(SpecError, match="a sweep of 2 points"):
        lab.used("saes")


def test_a_sweep_over_one_parameter_is_used_by_its_value():
    swept: dict[Point, UsedRun] = {(("seed", seed),): UsedRun(Result()) for seed in (3, 1)}
    lab = Lab(micro_model(), uses={"saes": swept, "one": {(): UsedRun(Result())}})
    assert list(lab.used_over("saes", "seed")) == [3, 1]
    with pytest.raises(SpecError, match="2 runs, swept over seed"):
        lab.used_over("saes", "n_features")
    with pytest.raises(SpecError, match="1 run, swept over nothing"):
        lab.used_over("one", "seed")


def test_what_all_points_of_a_sweep_share_is_no_second_cause():
    swept: dict[Point, UsedRun] = {(("seed", seed), ("k", 4)): UsedRun(Result()) for seed in (3, 1)}
    lab = Lab(micro_model(), uses={"saes": swept})
    assert list(lab.used_over("saes", "seed")) == [3, 1]


def test_a_stage_tells_its_own_progress_as_a_part_of_the_whole():
    told = []
    lab = Lab(micro_model(), progress=lambda fraction, message="": told.append((round(fraction, 3), message)))
    with lab.stage(0.4, "training") as progress:
        progress(0.5)
    with lab.stage(1.0, "measuring") as progress:
        progress(0.5, "half of it")
    assert told == [(0.0, "training"), (0.2, "training"), (0.4, "measuring"), (0.7, "half of it")]


def test_the_facts_that_a_lab_hands_out_are_checked_there():
    lab = planted_lab()
    lab.known_facts()
    assert {check.name for check in lab.receipts} == {"hugging_face_logits", "padding", "hooks_fired"}
    assert all(check.passed for check in lab.receipts)


def test_prompts_that_no_parameter_named_are_told():
    rows = [{"request": "Say cat."}, {"request": "Say dog."}]
    prompts = load_prompts(PromptChoice.model_validate({"rows": rows}), Path(), CHAT)
    lab = Lab(micro_model(), further_prompts={"known": prompts})
    assert lab.further("known") is prompts
    with pytest.raises(SpecError, match=r"(?s)no prompts were handed over for the parameter others.*known"):
        lab.further("others")
