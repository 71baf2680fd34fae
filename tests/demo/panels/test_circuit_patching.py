"""The patching panel: its map against a run of its own copied spec, its cell, what it refuses."""

import asyncio
import json
from collections.abc import Iterator

import gradio as gr
import numpy as np
import pytest
import yaml

import engine
from engine.demo import app
from engine.demo.limits import StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panels import circuit_patching
from engine.demo.panels.circuit_patching import (
    PANEL,
    PatchingState,
    RecentGrids,
    answer,
    chosen_cell,
    examples,
    found_html,
    map_cells,
    spec,
    summary,
)
from engine.errors import DataError, DemoError, RequestStopped
from engine.lab.patch_grid import PatchGrid
from engine.lab.patch_tables import RUNS
from engine.lab.planted import HEAD, LAYER, N_HEADS, N_LAYERS, planted_lab
from engine.models.micro import micro_model

STATE = PatchingState(
    clean="Fact France is in",
    corrupted="Fact Italy is in",
    answer="Paris",
    wrong_answer="Rome",
    position=-1,
)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[gr.Blocks]:
    """Gradio's blocks, to make components in. Their queue makes an event loop of its own, closed here."""
    made: list[asyncio.AbstractEventLoop] = []
    new_loop = asyncio.new_event_loop

    def kept() -> asyncio.AbstractEventLoop:
        made.append(new_loop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", kept)
    with gr.Blocks() as blocks:
        yield blocks
    asyncio.set_event_loop(None)
    for loop in made:
        loop.close()


def silent(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def live() -> LiveModel:
    return LiveModel.of(planted_lab().model)


def patched(live: LiveModel, **change: object) -> circuit_patching.PatchingAnswer:
    return answer(live, STATE.model_copy(update=change), silent, StopSignal(60))


def test_the_planted_head_is_on_the_map_and_among_the_heads(live):
    found = patched(live, site="z", layer=LAYER, head=HEAD)
    assert found.effect == pytest.approx(1.0, abs=1e-5)
    assert len(found.map) == N_LAYERS * 4
    assert found.heads_map is not None and len(found.heads_map) == N_LAYERS * N_HEADS
    assert found.heads_map.nlargest(1, "effect")["name"].tolist() == [f"L{LAYER}H{HEAD}"]
    assert found.heads_map_figure is not None
    assert "position 3 in" in found.heads_map_figure.title
    assert patched(live, site="mlp_out").heads_map is None


def test_before_and_after_are_the_models_own_words(live):
    found = patched(live, site="attn_out", layer=LAYER)
    first = found.next_tokens[found.next_tokens["rank"] == 1].set_index("run")["token"]
    assert [first[run] for run in RUNS] == ["Paris", "Rome", "Paris"]
    assert found.outcome.logit_diffs == pytest.approx(
        (found.grid.source, found.grid.base, found.logit_diff), abs=1e-4
    )


@pytest.mark.parametrize(("site", "direction"), [("resid_pre", "denoising"), ("z", "noising")])
def test_every_cell_is_that_of_a_run_of_the_copied_spec(project, live, site, direction):
    state = STATE.model_copy(update={"site": site, "direction": direction, "layer": LAYER, "head": HEAD})
    found = answer(live, state, silent, StopSignal(60))
    copied = yaml.safe_load(app.spec_yaml(spec(state, str(project / "model"))))
    measured = engine.run(copied, quiet=True)
    # The typed pair and its swap: the first of the two is on screen.
    for name, value in (("cell_effect", found.effect), ("cell_logit_diff", found.logit_diff)):
        samples = measured[name].samples
        assert samples is not None and samples[0] == pytest.approx(value, abs=1e-5)
    said = measured.table("next_tokens").query("id == 'typed'")
    np.testing.assert_allclose(said["probability"], found.next_tokens["probability"], atol=1e-5)
    assert said["token"].tolist() == found.next_tokens["token"].tolist()
    cells = measured.table("map")
    for column in ("effect", "logit_diff"):
        np.testing.assert_allclose(cells[column], found.map[column], atol=1e-5)
    assert cells["place"].tolist() == found.map["place"].tolist()


def test_a_click_on_a_cell_takes_its_layer_and_position():
    state = chosen_cell(STATE, {"layer": 2, "place": "1 Italy", "effect": 0.5})
    assert (state.layer, state.position, state.head) == (2, 1, 0)
    assert state.clean == STATE.clean
    state = chosen_cell(STATE, {"layer": 1, "head": 3})
    assert (state.layer, state.position, state.head) == (1, -1, 3)


@pytest.mark.parametrize(
    "datum", [{}, {"layer": "1"}, {"layer": -1}, {"layer": True}, {"layer": 1.5}, {"layer": 1, "head": 10**9}]
)
def test_a_click_that_names_no_cell_is_refused(datum):
    with pytest.raises(DemoError, match="no cell of the map"):
        chosen_cell(STATE, datum)


def test_a_second_cell_of_one_map_needs_no_second_map(live, monkeypatch):
    patched(live, site="mlp_out")
    monkeypatch.setattr(circuit_patching, "patch_grid", None)
    patched(live, site="mlp_out", layer=2, position=0)
    with pytest.raises(TypeError):
        patched(live, site="mlp_out", direction="noising")


def test_recent_maps_are_bounded_and_keep_no_text():
    recent = RecentGrids(most=2)
    grid = PatchGrid(np.zeros((1, 1)), 0.0, 1.0)
    for text in ("one secret", "two", "three"):
        recent.get([text], lambda: grid)
    assert len(recent._grids) == 2
    assert not any("secret" in key or "two" in key for key in recent._grids)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"corrupted": "Fact Italy in"}, "in the clean prompt is at position 2 is too many"),
        ({"clean": ""}, "the clean prompt is empty"),
        ({"answer": "Paris Rome"}, "2 tokens, not one"),
        ({"wrong_answer": "Paris"}, "the same token"),
        ({"corrupted": STATE.clean}, "nothing to patch"),
        ({"layer": 3}, "has no layer 3"),
        ({"position": 4}, "no position 4"),
        ({"site": "z", "head": 4}, "no such head"),
        ({"clean": "Fact France\x00 is in"}, "control character"),
    ],
)
def test_what_cannot_be_patched_is_told_in_the_panel(live, change, problem):
    with pytest.raises((DemoError, DataError)) as told:
        patched(live, **change)
    assert problem in str(told.value)
    assert "<" not in told.value.problem


def test_two_prompts_that_the_answers_do_not_tell_apart_have_nothing_to_restore(live):
    # The planted head reads subjects alone, and neither of these two is one.
    with pytest.raises(DemoError, match="nothing to restore") as told:
        patched(live, clean="Fact is is in", corrupted="Fact in is in")
    assert "logits" in told.value.seen


def test_progress_is_told_and_ends_the_work(live):
    said: list[tuple[float, str]] = []
    answer(
        live,
        STATE.model_copy(update={"clean": "Now Peru is in"}),
        lambda f, w="": said.append((f, w)),
        StopSignal(60),
    )
    shares = [fraction for fraction, _ in said]
    assert shares == sorted(shares)
    assert any("patching 4 positions of 3 layers" in words for _, words in said)
    stop = StopSignal(60)

    def cancelling(fraction: float, words: str = "", /) -> None:
        stop.cancel()
        stop.require_running()

    with pytest.raises(RequestStopped):
        answer(live, STATE.model_copy(update={"clean": "Well Peru is in"}), cancelling, stop)


def test_a_pair_that_the_model_does_not_know_is_said_to_be_one(live):
    lines = summary(patched(live, answer="Rome", wrong_answer="Paris"))
    assert any("prefers ␣Paris to ␣Rome: it may not know this fact" in line for line in lines)
    assert any("After the corrupted prompt, too" in line for line in lines)
    assert len(summary(patched(live))) == 3


def test_the_result_names_the_cell_and_has_a_column_for_each_run(live):
    shown = found_html(patched(live, site="attn_out", layer=LAYER))
    assert "Patching attn_out at layer 1, position 3 (in)" in shown
    assert shown.count('<th scope="col">') == 1 + len(RUNS)
    assert "likeliest next" not in shown


def test_the_table_beside_the_map_begins_where_the_prompts_differ(live):
    table = map_cells(patched(live, position=2))
    assert min(table.table["position"].tolist()) == 1
    assert table.html().count('aria-pressed="true"') == 1


def test_markup_in_a_prompt_is_shown_and_not_run(blocks):
    tokens = ["<img", "src=x", "onerror=alert(1)>"]
    live = LiveModel.of(micro_model(n_layers=2, vocab_words=(*tokens, "France", "Italy", "Paris", "Rome")))
    state = PatchingState(
        clean="<img src=x onerror=alert(1)> France",
        corrupted="<img src=x onerror=alert(1)> Italy",
        answer="Paris",
        wrong_answer="Rome",
        position=0,
    )
    found = answer(live, state, silent, StopSignal(60))
    view = PANEL.view(live, lambda: None)
    for shown in view.show(found):
        assert "<img" not in shown


def test_the_view_has_an_input_for_each_field_of_the_state(blocks, live):
    calls = []
    view = PANEL.view(live, lambda: calls.append("controls"))
    assert list(view.inputs) == list(PatchingState.model_fields)
    assert calls == ["controls"]
    assert len(list(view.show(patched(live, site="z")))) == len(view.outputs)
    assert view.show(patched(live))[3] == ""


def test_examples_are_the_investigations_and_the_first_is_what_opens(live):
    found = examples(live)
    assert found[0] == PatchingState()
    assert len({state.clean for state in found}) == 6
    facts = live.prompts("facts").table
    assert {state.clean for state in found} <= set(facts["clean"])
    assert all(0 <= state.layer < N_LAYERS for state in found)


def test_a_spec_is_plain_data_with_the_cell_that_is_on_screen():
    said = spec(STATE.model_copy(update={"site": "z", "head": 2, "layer": 1}), "some-model")
    assert json.loads(json.dumps(said)) == yaml.safe_load(app.spec_yaml(said)) == said
    assert said["parameters"] == {
        "site": "z",
        "direction": "denoising",
        "layer": 1,
        "position": -1,
        "head": 2,
    }
    assert said["prompts"]["rows"][0]["answer"] == " Paris"
    assert "head" not in spec(STATE, "some-model")["parameters"]
