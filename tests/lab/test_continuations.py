"""Log-probabilities of given texts equal Hugging Face's own loss, in any batch and under edits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import DataError, ModelError
from engine.lab import continuations, prompt_batches
from engine.lab.continuations import Continuations, log_probs, log_probs_by_edit
from engine.lab.directions import added
from engine.models.hooked import HookedModel
from engine.models.micro import MicroStyle, micro_model
from engine.models.sites import site_of

TEXTS = ("the city of France is red", "the city of Spain", "Fact : The capital city of Italy is Rome .")


def some_texts(model: HookedModel) -> Continuations:
    return Continuations(model.token_ids(TEXTS), [3, 1, 8])


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_they_are_the_loss_that_hugging_face_computes_of_each_text_alone(style: MicroStyle) -> None:
    model = micro_model(style)
    texts = some_texts(model)
    for row, start, found in zip(texts.rows, texts.starts, log_probs(model, texts), strict=True):
        ids = torch.tensor([row])
        labels = ids.clone()
        labels[:, :start] = -100  # what Hugging Face leaves out of the loss
        with torch.no_grad():
            loss = model.hf(ids, labels=labels, use_cache=False).loss
        assert found == pytest.approx(-float(loss) * (len(row) - start), abs=1e-5)
    assert texts.n_tokens.tolist() == [3, 3, 2]


def test_an_edit_is_made_at_every_position_and_the_batch_makes_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = micro_model()
    texts = some_texts(model)
    edit = {site_of("blocks.0.hook_resid_post", 2): added(torch.ones(32), 2.0)}
    together = log_probs(model, texts, edit)
    assert np.abs(together - log_probs(model, texts)).max() > 0.1
    monkeypatch.setattr(prompt_batches, "TOKENS_AT_ONCE", 1)
    monkeypatch.setattr(continuations, "UNEMBEDDED_AT_ONCE", 2)
    np.testing.assert_allclose(log_probs(model, texts, edit), together, atol=1e-5)


@pytest.mark.parametrize("edit", [{}, {site_of("blocks.1.hook_resid_pre", 2): added(torch.ones(32), 2.0)}])
def test_a_start_that_all_texts_share_is_read_once_to_the_same_numbers(edit: dict) -> None:
    model = micro_model("gpt2")
    start = "Fact : The capital city of France is Paris and one red cat sat on two green dogs"
    rows = model.token_ids(
        [f"{start} {end}" for end in ("in the river", "in Rome", "in the tower of Madrid")]
    )
    for first in (3, len(start.split()), len(start.split()) + 1):
        together = log_probs(model, Continuations(rows, [first - 2, first, first - 1]), edit)
        alone = [
            log_probs(model, Continuations([row], [at]), edit)[0]
            for row, at in zip(rows, (first - 2, first, first - 1), strict=True)
        ]
        np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("kind", ["hook_resid_pre", "hook_resid_post", "hook_mlp_out"])
@pytest.mark.parametrize("layer", [0, 1])
def test_several_edits_at_a_site_give_what_each_gives_by_itself(layer: int, kind: str) -> None:
    model = micro_model()
    texts = some_texts(model)
    site = site_of(f"blocks.{layer}.{kind}", 2)
    edits = [added(torch.ones(32), coefficient) for coefficient in (-1.0, 0.0, 2.0)]
    together = log_probs_by_edit(model, texts, site, edits)
    for edit, found in zip(edits, together, strict=True):
        np.testing.assert_allclose(found, log_probs(model, texts, {site: edit}), atol=1e-5)
    assert np.abs(together[0] - together[2]).min() > 1e-3
    with pytest.raises(ModelError, match="log-probabilities are not finite"):
        log_probs_by_edit(model, texts, site, [added(torch.full((32,), 1e30), 1e10)])


def test_the_difference_of_two_last_tokens_is_their_logit_difference() -> None:
    model = micro_model()
    rows = model.token_ids(["the city of France is red", "the city of France is green"])
    one, other = log_probs(model, Continuations(rows, [5, 5]))
    with torch.no_grad():
        logits = model.logits(torch.tensor(rows[:1])[:, :-1])[0, -1]
    assert one - other == pytest.approx(float(logits[rows[0][-1]] - logits[rows[1][-1]]), abs=1e-5)


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(DataError, match="no token counts") as refused:
        Continuations([[1, 2, 3], [1, 2]], [1, 2])
    assert refused.value.where == "text 1"
    with pytest.raises(DataError, match="no token counts"):
        Continuations([[1, 2, 3]], [0])
    with pytest.raises(DataError, match="no texts to read"):
        Continuations([], [])


def test_an_edit_that_breaks_the_numbers_is_told() -> None:
    model = micro_model()
    edit = {site_of("blocks.0.hook_resid_post", 2): added(torch.full((32,), 1e30), 1e10)}
    with pytest.raises(ModelError, match="log-probabilities are not finite") as refused:
        log_probs(model, some_texts(model), edit)
    assert "a smaller coefficient" in refused.value.hint
