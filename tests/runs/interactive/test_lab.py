"""The instruments on a model in a notebook: quick looks that agree with the model's own forward."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from engine.errors import EngineError
from engine.lab.planted import planted_lab
from engine.runs.interactive.lab import ModelLab
from engine.spec.sites import RESID_PRE

PLANTED = planted_lab()
TEXT = "Fact France is in"


@pytest.fixture
def lab() -> ModelLab:
    return ModelLab(PLANTED.model, prompts=PLANTED.prompts)


def test_a_lab_is_what_a_family_is_given(lab: ModelLab) -> None:
    assert len(lab.known_facts()) == 32
    assert lab.receipts  # what every run owes of what it reads
    assert repr(lab) == "Lab on planted-facts: 3 layers, 4 heads, d_model 32"


def test_the_likeliest_tokens_are_those_of_the_models_forward(lab: ModelLab) -> None:
    assert lab.tokens(TEXT) == ["Fact", "France", "is", "in"]
    found = lab.next_tokens(TEXT, top=3)
    ids = PLANTED.model.token_ids([TEXT])
    probabilities = PLANTED.model.logits(torch.tensor(ids))[0, -1].softmax(-1)
    assert found["token"].tolist()[0] == "Paris"
    assert found["probability"].tolist() == pytest.approx(probabilities.topk(3).values.tolist())


def test_the_lens_ends_with_the_models_own_answer(lab: ModelLab) -> None:
    lens = lab.lens(TEXT)
    assert lens["layer"].tolist() == [0, 1, 2, 3]
    # Layer 1 looks the answer up; before it the last token stands alone.
    assert lens["token"].tolist() == ["in", "in", "Paris", "Paris"]
    last = lab.next_tokens(TEXT, top=1)["probability"][0]
    assert lens["probability"].iloc[-1] == pytest.approx(last)


def test_activations_are_read_at_a_site_or_at_the_labs_own(lab: ModelLab) -> None:
    ids = torch.tensor(PLANTED.model.token_ids([TEXT]))
    streams = PLANTED.model.forward(ids, read=PLANTED.model.sites(RESID_PRE)).by_layer(RESID_PRE)
    assert torch.equal(lab.activations(TEXT, "blocks.2.hook_resid_pre"), streams[2][0])
    own = ModelLab(PLANTED.model, hook_site="blocks.50%.hook_resid_pre")
    assert torch.equal(own.activations(TEXT), lab.activations(TEXT, own.hook_site))
    assert lab.activations(TEXT, "blocks.1.attn.hook_z").shape == (4, 4, 8)


def test_prompts_may_be_rows_at_hand() -> None:
    assert PLANTED.prompts is not None
    columns = ["id", "relation", "clean", "corrupted", "answer", "wrong_answer"]
    rows = pd.DataFrame({name: PLANTED.prompts.table[name] for name in columns})
    found = ModelLab(PLANTED.model, prompts=rows).prompts
    assert found is not None and found.table["clean"].tolist() == rows["clean"].tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hook_site": "blocks.9.hook_resid_pre"}, "blocks.9"),
        ({"hook_site": "blocks.1.hook_resid_pree"}, "nearest"),
        ({"prompts": {"nam": "facts"}}, "this is no PromptChoice"),
        ({"prompts": "fcats"}, "fcats"),
        ({"corpus": {"name": "smollm2-samples", "token": 5}}, "nearest: tokens"),
    ],
)
def test_what_is_wrong_is_told(
    arguments: dict, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError) as caught:
        ModelLab(PLANTED.model, **arguments)
    assert said in str(caught.value)


def test_a_model_without_a_source_and_a_text_without_tokens_are_refused(lab: ModelLab) -> None:
    with pytest.raises(EngineError, match="smollm"):
        ModelLab("smollm2-135m-instruckt")
    with pytest.raises(EngineError, match="no token"):
        lab.tokens("")
    with pytest.raises(EngineError, match="no hook site is named"):
        lab.activations(TEXT)
