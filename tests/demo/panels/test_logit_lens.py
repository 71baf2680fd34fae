"""The lens panel: its numbers are those of the families, and what it cannot read is one message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engine
from engine.demo.app import spec_yaml
from engine.demo.limits import StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panels import logit_lens
from engine.demo.panels.logit_lens import PANEL, LensAnswer, LensState
from engine.errors import DemoError
from engine.families import tuned_lens
from engine.models.micro import micro_model

TEXT = "the capital city of France is"
# The second is a prompt that the spec would otherwise have beside it.
STATES = [LensState(), LensState(prompt="Fact: The capital of Germany is", answer=" the")]


@pytest.fixture(scope="module")
def live() -> LiveModel:
    return LiveModel.of(micro_model(n_layers=3))


def read(live: LiveModel, state: LensState) -> LensAnswer:
    return PANEL.answer(live, state, lambda fraction, words="", /: None, StopSignal(60))


def test_the_default_state_is_the_first_example() -> None:
    examples = PANEL.examples(LiveModel("smollm2-135m-instruct"))
    assert examples[0] == LensState()
    assert len({example.prompt for example in examples}) == len(examples) > 3


def test_every_cell_is_what_the_instrument_reads_at_the_end_of_the_text_up_to_there(live: LiveModel) -> None:
    found = read(live, LensState(prompt=TEXT, answer=" Paris"))
    lab = engine.Lab(live.model)
    words = TEXT.split()
    for position in range(len(words)):
        # The public lens reads the last position alone, of a text that ends there.
        tops = lab.lens(" ".join(words[: position + 1]))
        mine = [int(top[0]) for top in found.grid.top[position]]
        assert live.model.token_strings(mine) == tops["token"].tolist()
        np.testing.assert_allclose(found.grid.top_probability[position, :, 0], tops["probability"], atol=1e-5)
    assert found.cells.shape[0] == len(words) * (live.model.n_layers + 1)


def test_the_targets_are_the_answer_at_the_end_and_the_models_own_before(live: LiveModel) -> None:
    found = read(live, LensState(prompt=TEXT, answer=" Paris"))
    own = read(live, LensState(prompt=TEXT, answer=""))
    assert (own.grid.rank[:, -1] == 0).all()
    np.testing.assert_array_equal(found.grid.rank[:-1], own.grid.rank[:-1])
    paris = live.model.token_ids(["Paris"])[0][0]
    logits = live.model.logits(live.model.pad(live.model.token_ids([TEXT]))[0])[0, -1]
    assert found.grid.rank[-1, -1] == int((logits > logits[paris]).sum())
    assert found.grid.logprob[-1, -1] == pytest.approx(float(logits.log_softmax(-1)[paris]), abs=1e-5)


def test_a_position_commits_once_its_target_stays_on_top(
    live: LiveModel,
) -> None:
    found = read(live, LensState(prompt=TEXT, answer=""))
    for position, ranks in enumerate(found.grid.rank):
        blocks = next(first for first in range(len(ranks)) if (ranks[first:] == 0).all())
        assert found.commits[position] == blocks
    assert found.commit_layer == found.commits[-1]
    never = read(live, LensState(prompt=TEXT, answer=" cat"))
    if never.grid.rank[-1, -1] > 0:
        assert never.commit_layer is None and "not what the model says" in PANEL.summary(never)[0]


def test_the_tuned_lens_is_the_familys_own_and_fitted_once(
    live: LiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[int] = []

    def fit(model, contexts, chosen, progress):
        fits.append(len(chosen))
        expected, _ = tuned_lens.held_out(contexts, tuned_lens.Params(), np.random.default_rng(0))
        np.testing.assert_array_equal(chosen, expected)
        return real(model, contexts, chosen, progress)

    real = logit_lens.fit_translators
    monkeypatch.setattr(logit_lens, "fit_translators", fit)
    first = read(live, LensState(prompt=TEXT, answer="", lens="tuned"))
    again = read(live, LensState(prompt=TEXT, answer="", lens="tuned"))
    plain = read(live, LensState(prompt=TEXT, answer=""))
    assert len(fits) == 1
    np.testing.assert_array_equal(first.grid.logprob, again.grid.logprob)
    # The last row is the output by either lens, and the first is not.
    np.testing.assert_allclose(first.grid.logprob[:, -1], plain.grid.logprob[:, -1], atol=1e-5)
    assert np.abs(first.grid.logprob[:, 0] - plain.grid.logprob[:, 0]).max() > 1e-3


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (LensState(prompt=" \n "), "is empty"),
        (LensState(prompt="red " * 200, answer=""), "at most 128 tokens"),
        (LensState(prompt=TEXT, answer=" Paris Madrid"), "not one token"),
        (LensState(prompt=TEXT, answer=" "), "no token of its own"),
    ],
)
def test_what_cannot_be_read_is_one_message(live: LiveModel, state: LensState, said: str) -> None:
    with pytest.raises(DemoError) as error:
        read(live, state)
    assert said in str(error.value)


def test_a_state_without_an_answer_has_no_spec() -> None:
    with pytest.raises(DemoError, match="needs an answer"):
        PANEL.spec(LensState(answer=""), "smollm2-135m-instruct")


@pytest.mark.model
@pytest.mark.parametrize("state", STATES)
def test_a_run_of_the_copied_spec_finds_the_panels_numbers(
    state: LensState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveModel("smollm2-135m-instruct")
    live.load()
    found = read(live, state)
    spec = tmp_path / "copied.yaml"
    spec.write_text(spec_yaml(PANEL.spec(state, live.name)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    results = engine.run(spec, quiet=True)
    own = results.table("per_prompt").set_index("id").loc["typed"]
    assert own["commit_layer"] == found.commits[-1]
    assert own["logprob"] == pytest.approx(found.grid.logprob[-1, -1], abs=1e-5)
    assert results.ledger.spec.models == [live.name]
