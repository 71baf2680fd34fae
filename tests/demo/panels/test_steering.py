"""The panel's vector and numbers are those of `mech run` of its spec, its texts those of `mech steer`."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.data.prompts import load_prompts
from engine.demo.address import checked_state, from_query, to_query
from engine.demo.app import links_html, spec_yaml, status_html
from engine.demo.limits import StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panel_list import PANELS
from engine.demo.panels.steering import (
    PANEL,
    TITLES,
    SteeringAnswer,
    SteeringState,
    answer,
    card_html,
    examples,
    lines,
    shown,
    spec,
    steer_command,
    stream,
    summary,
)
from engine.demo.steering_choices import CONCEPTS, choices
from engine.errors import DemoError, EngineError, RequestStopped
from engine.families.caa_steering.open_generation import shortened
from engine.lab.steering_vectors import SteeringVector, VectorSource, save_vector
from engine.models.hooked import HookedModel
from engine.models.micro import WORDS, micro_model
from engine.runs.steered_texts import run_vector, steered_texts, token_ids
from engine.runs.store.store import open_store
from engine.spec.inputs import CONTRAST
from engine.spec.models import PromptChoice
from tests.conftest import save_model

PLACES = ("France", "Spain", "Italy", "Germany")
TEXTS = [f"the {noun} of {place} is {{}}" for place in PLACES for noun in ("city", "tower")]
STATE = SteeringState(
    prompt="the city of Spain is",
    vector="lists",
    instruction="People speak red .",
    coefficient=6.0,
    tokens=6,
    positive="\n".join(text.format("red") for text in TEXTS),
    negative="\n".join(text.format("green") for text in TEXTS),
)
OWN_SITE = "blocks.1.hook_resid_post"


def with_(state: SteeringState = STATE, **changes: Any) -> SteeringState:
    return SteeringState.model_validate(state.model_dump() | changes)


def unhurried(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""


def asked(live: LiveModel, state: SteeringState) -> SteeringAnswer:
    return answer(live, state, unhurried, lambda: False)


def of_copied(experiment: dict[str, Any]) -> engine.Results:
    """What `mech run --spec FILE` finds of a spec that was copied into a file."""
    Path("copied.yaml").write_text(spec_yaml(experiment))
    return engine.run("copied.yaml", quiet=True)


def well_read_model() -> HookedModel:
    """A model that knows every word of the packaged sets, and those of all micro models."""
    words = [*WORDS, "is", "red", "green"]
    for name in CONCEPTS:
        table = load_prompts(PromptChoice(name=name), Path(), CONTRAST).table
        for texts in (table["positive"], table["negative"]):
            words += [word for text in texts for word in text.split()]
    return micro_model(n_layers=3, vocab_words=words)


@pytest.fixture(scope="module")
def live() -> LiveModel:
    return LiveModel.of(well_read_model())


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a store."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveModel, engine.Results]]:
    """A model on disk, and the run of the copied spec, in a project of its own."""
    root = tmp_path_factory.mktemp("measured")
    save_model(well_read_model(), root / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MECH_CACHE", str(root / "cache"))
        patch.chdir(root)
        live = LiveModel("./model")
        live.load()
        yield live, of_copied(spec(STATE, live.name))


# --- the same numbers as a run, the same texts as mech steer


def test_the_vector_and_its_agreement_are_those_of_the_copied_spec(
    measured: tuple[LiveModel, engine.Results],
) -> None:
    live, run = measured
    found = asked(live, STATE)
    names = ("agreement", "held_out_agreement", "shuffled_agreement", "contrasts_trained")
    for name in names:
        assert found.vector.measurements[name].value == pytest.approx(float(run[name]), abs=1e-5)
    kept = run_vector(1, Path.cwd())
    assert list(kept.directions) == found.vector.sites
    for site, direction in kept.directions.items():
        np.testing.assert_allclose(found.vector.vector.directions[site], direction, atol=1e-5)
    # Pairs that disagree, or the comparison would hold for any.
    assert 0 < found.vector.measurements["held_out_agreement"].value < 0.999


def test_texts_and_perplexities_are_those_of_mech_steer_with_the_runs_vector(
    measured: tuple[LiveModel, engine.Results],
) -> None:
    live, _ = measured
    ids = token_ids(live.model, STATE.prompt, plain=True)
    kept = run_vector(1, Path.cwd())
    expected = steered_texts(
        live.model, kept, ids, STATE.coefficient, max_tokens=6, seed=0, progress=lambda condition: None
    )
    assert len({each.text for each in expected}) > 1
    for state in (STATE, with_(vector="run 1")):
        found = asked(live, state)
        for each in expected:
            mine = found.of(each.condition)
            assert mine.text == each.text
            assert mine.perplexity == pytest.approx(each.perplexity, rel=1e-5)
            assert mine.repetition == pytest.approx(each.repetition)


def test_texts_are_those_of_the_run_from_a_beginning_that_it_held_out(
    measured: tuple[LiveModel, engine.Results],
) -> None:
    live, _ = measured
    with open_store(Path.cwd()) as store:
        table = store.load(store.run(1)).tables["completions"]
    begun = str(table["beginning"].iloc[0])
    found = asked(live, with_(prompt=begun))
    names = {
        "plain": "unmodified",
        "steered": "steered",
        "random": "random direction",
        "prompted": "instructed",
    }
    rows = [row for row in table.to_dict("records") if row["beginning"] == begun]
    assert {row["condition"] for row in rows} == set(names)
    for row in rows:
        assert shortened(found.of(names[row["condition"]]).text) == row["completion"]


def test_a_run_is_copied_at_what_the_panel_shows(measured: tuple[LiveModel, engine.Results]) -> None:
    live, _ = measured
    of_copied(spec(SteeringState(tokens=2), live.name))
    state = SteeringState(vector="run 2", coefficient=-3.0, layer=0, tokens=1, seed=4, instruction="Red .")
    said = spec(state, live.name)
    assert (said["family"], said["model"]) == ("caa_steering", live.name)
    assert said["prompts"] == {"name": "sentiment", "limit": 40}
    changed = {"coefficient": 3.0, "layer": "blocks.0.hook_resid_post", "new_tokens": 1, "seed": 4}
    kept = spec(SteeringState(), live.name)["parameters"]
    wanted = kept | changed | {"instruction": "Red ."}
    assert {name: said["parameters"][name] for name in wanted} == wanted
    # It is measured as it stands, and its vector is there to be chosen.
    assert len(of_copied(said)) > 5
    assert [value for _, value in choices(live)] == [*CONCEPTS, "lists", "run 3", "run 2", "run 1"]
    # A run does not keep the rows that stood in its spec.
    with pytest.raises(EngineError, match="rows of its spec"):
        spec(with_(vector="run 1"), live.name)


# --- streaming


def test_texts_grow_by_a_token_and_then_get_their_costs(live: LiveModel) -> None:
    steps = list(stream(live, STATE, unhurried, lambda: False))
    assert [len(step.completions) for step in steps] == [4] * 8  # six tokens, costs, verdicts
    assert [each.condition for each in steps[0].completions] == list(TITLES)
    lengths = [len(step.of("steered").text) for step in steps[:6]]
    assert lengths == sorted(set(lengths))
    assert np.isnan(steps[5].of("steered").perplexity) and np.isfinite(steps[6].of("steered").perplexity)
    assert not steps[6].of("steered").verdict and steps[7].of("steered").verdict
    table = steps[7].by_condition
    assert table is not None and list(table["condition"]) == list(TITLES.values())
    assert steps[7].by_condition_figure is not None
    assert all(isinstance(value, str) for step in steps for value in shown(step))


def test_cancelling_stops_it_between_two_tokens(live: LiveModel) -> None:
    stop = StopSignal(60)
    found = []
    for step in stream(live, with_(tokens=40), unhurried, stop):
        found.append(step)
        if len(found) == 2:
            stop.cancel()
    assert len(found) == 2
    with pytest.raises(DemoError, match="before its first token"):
        answer(live, STATE, unhurried, lambda: True)


def test_making_a_vector_stops_between_two_batches_of_pairs(live: LiveModel) -> None:
    told: list[str] = []

    def progress(fraction: float, words: str = "", /) -> None:
        told.append(words)
        raise RequestStopped("this request was cancelled")

    with pytest.raises(RequestStopped):
        answer(live, STATE, progress, lambda: False)
    assert told == ["making the vector"]


# --- vectors


@pytest.mark.parametrize("name", ["sentiment", "certainty"])
def test_a_concept_is_at_hand_without_a_store_and_kept(live: LiveModel, name: str, outside: Path) -> None:
    state = SteeringState(vector=name, tokens=2)
    found = asked(live, state)
    assert f"20 of 40 pairs of {name}" in found.vector.about
    assert asked(live, state).vector.vector is found.vector.vector
    assert asked(live, with_(state, layer=0)).vector.sites == ["blocks.0.hook_resid_post"]
    assert not (outside / ".engine").exists()


def test_a_file_that_the_server_was_started_with_steers_and_no_other(
    live: LiveModel, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direction = np.linspace(-2, 2, 32, dtype=np.float32)
    save_vector(SteeringVector({OWN_SITE: direction}), outside / "joy.safetensors")
    monkeypatch.setattr(live, "vectors", {"joy.safetensors": outside / "joy.safetensors"})
    found = asked(live, with_(vector="file joy.safetensors"))
    assert found.vector.sites == [OWN_SITE] and found.of("steered").text
    assert ("file joy.safetensors", "file joy.safetensors") in choices(live)
    with pytest.raises(DemoError, match=r"(?s)not started with a file.*nearest: joy\.safetensors"):
        asked(live, with_(vector="file joy.safetensor"))
    for name in (f"file {outside / 'joy.safetensors'}", str(outside / "joy.safetensors"), "file ../joy"):
        with pytest.raises(DemoError):
            asked(live, with_(vector=name))
    with pytest.raises(DemoError, match="no experiment"):
        spec(with_(vector="file joy.safetensors"), "m")
    moved = asked(live, with_(vector="file joy.safetensors", layer=0))
    assert moved.vector.sites == ["blocks.0.hook_resid_post"]
    assert f"read at {OWN_SITE} and added at blocks.0.hook_resid_post" in moved.vector.about


def test_of_several_layers_one_is_chosen_or_all(
    live: LiveModel, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directions = {f"blocks.{layer}.hook_resid_post": np.full(32, layer + 1.0, np.float32) for layer in (1, 2)}
    save_vector(SteeringVector(directions), outside / "v.safetensors")
    monkeypatch.setattr(live, "vectors", {"v.safetensors": outside / "v.safetensors"})
    assert asked(live, with_(vector="file v.safetensors")).vector.sites == list(directions)
    only = asked(live, with_(vector="file v.safetensors", layer=2)).vector
    assert only.sites == ["blocks.2.hook_resid_post"] and "read at" not in only.about
    with pytest.raises(DemoError, match="2 directions, and none at layer 0"):
        asked(live, with_(vector="file v.safetensors", layer=0))


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        (SteeringVector({OWN_SITE: np.ones(16, np.float32)}), "of another width"),
        (SteeringVector({"blocks.9.hook_resid_post": np.ones(32, np.float32)}), "blocks.9"),
        (
            SteeringVector({OWN_SITE: np.ones(32, np.float32)}, VectorSource("gpt2", "ab" * 32)),
            "another model",
        ),
    ],
)
def test_a_vector_that_does_not_fit_the_model_is_refused(
    live: LiveModel, outside: Path, monkeypatch: pytest.MonkeyPatch, vector: SteeringVector, says: str
) -> None:
    save_vector(vector, outside / "v.safetensors")
    monkeypatch.setattr(live, "vectors", {"v": outside / "v.safetensors"})
    with pytest.raises(EngineError, match=says) as refused:
        asked(live, with_(vector="file v"))
    assert str(outside) not in str(refused.value)


def test_texts_under_a_vector_of_refusals_are_masked_at_every_step(
    live: LiveModel, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = VectorSource(method="refusal_direction, audit/refusal")
    save_vector(SteeringVector({OWN_SITE: np.ones(32, np.float32)}, source), outside / "r.safetensors")
    monkeypatch.setattr(live, "vectors", {"r": outside / "r.safetensors"})
    state = with_(vector="file r", tokens=20)
    for step in stream(live, state, unhurried, lambda: False):
        assert all(len(each.text.split()) <= 9 for each in step.completions)
    assert "more character" in step.of("unmodified").text
    assert "more character" not in asked(live, with_(tokens=20)).of("unmodified").text


def test_a_condition_that_breaks_the_numbers_says_so_beside_the_others(live: LiveModel) -> None:
    # Beyond what the panel lets a reader ask for.
    found = asked(live, STATE.model_copy(update={"coefficient": 1e39}))
    assert found.of("steered").problem == "logits are not finite" and found.of("steered").verdict == "broken"
    assert found.of("unmodified").text and "(no text: logits are not finite)" in shown(found)[0]
    assert found.by_condition is not None and "Steered" not in set(found.by_condition["condition"])


# --- what is wrong is told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"positive": ""}, "one of the lists is empty"),
        ({"positive": " \n ", "negative": ""}, "both lists are empty"),
        ({"positive": STATE.negative}, "the two lists are the same"),
        ({"positive": STATE.positive + "\none more"}, r"(?s)not in pairs.*9 with the concept, 8 without"),
        ({"positive": "the red city", "negative": "the green city"}, r"(?s)too few pairs.*seen: 1"),
        ({"positive": "the red city\n" * 41, "negative": "the city\n" * 41}, "too many pairs"),
        ({"positive": "a b\na c", "negative": "a d\na c"}, "pair 2"),
        ({"positive": "a b\na b", "negative": "a d\na d"}, "pair 2"),
        ({"positive": "the " * 300 + "\nb", "negative": "c\nd"}, r"(?s)the two lists.*300 tokens"),
        ({"layer": 3}, r"(?s)no layer 3.*0 to 2"),
        ({"prompt": "  "}, "the prompt is empty"),
        ({"instruction": " "}, "the instruction is empty"),
        ({"prompt": "the city " * 60}, r"(?s)too long.*at most 122 tokens"),
        ({"template": "chat"}, "chat template"),
        ({"vector": "sentment"}, "nearest: sentiment"),
        ({"vector": "run 999"}, "run 999"),
        ({"vector": "run x; drop"}, "names no run"),
        ({"vector": "run " + "9" * 60}, "names no run"),
        ({"vector": "run \u0661"}, "names no run"),
        ({"vector": "<script>alert(1)</script>"}, "no vector is called"),
    ],
)
def test_what_cannot_be_is_one_message(
    live: LiveModel, outside: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        asked(live, with_(**changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("coefficient", "nan"),
        ("coefficient", "inf"),
        ("coefficient", "1e9"),
        ("coefficient", "much"),
        ("layer", "-1"),
        ("layer", "1.5"),
        ("tokens", "0"),
        ("tokens", "100000"),
        ("seed", "-1"),
        ("prompt", ""),
        ("prompt", "x" * 1001),
        ("positive", "x" * 4001),
        ("template", "html"),
        ("vectors", "sentiment"),
    ],
)
def test_an_address_with_a_wrong_field_names_it(field: str, value: str) -> None:
    with pytest.raises(DemoError, match=field):
        from_query(f"?panel=steering&{field}={value}", PANEL)


def test_markup_is_shown_as_it_is_typed(live: LiveModel) -> None:
    found = asked(live, with_(prompt="<b>the</b> city & <script>x</script>", tokens=2))
    html = shown(found)[0]
    assert "<script>" not in html and "&lt;script&gt;" in html and "&amp;" in html
    made = found.of("unmodified")
    assert "&lt;img" in card_html(type(made)("unmodified", "<img src=x onerror=y>"))


# --- states, examples, spec


def test_every_example_and_an_own_list_survive_the_address(live: LiveModel) -> None:
    found = examples(live)
    assert found[0] == SteeringState() and len({state.prompt for state in found}) == len(found)
    for state in [*found, STATE, with_(layer=2, template="chat", coefficient=-0.1)]:
        assert from_query(to_query(PANEL, state), PANEL) == state
        assert checked_state(PANEL, state.model_dump()) == state
    assert to_query(PANEL, SteeringState()) == "?panel=steering"


def test_the_lists_that_are_there_are_pairs_of_the_packaged_set(live: LiveModel) -> None:
    table = live.prompts("sentiment", "contrast").table
    packaged = {(row["positive"], row["negative"]): row["topic"] for row in table.to_dict("records")}
    state = SteeringState()
    pairs = list(zip(lines(state.positive), lines(state.negative), strict=True))
    assert len({packaged[pair] for pair in pairs}) == len(pairs) == 6


def test_a_spec_says_what_the_family_can_measure() -> None:
    said = spec(SteeringState(layer=4, coefficient=-3.0), "m")
    assert said["prompts"] == {"name": "sentiment", "limit": 40}
    assert said["parameters"]["coefficient"] == 3.0 and said["parameters"]["open_prompts"] > 0
    assert said["parameters"]["layer"] == "blocks.4.hook_resid_post"
    with pytest.raises(DemoError, match="coefficient of 0"):
        spec(SteeringState(coefficient=0.0), "m")
    # Nothing can be gone on from where the two texts of a pair begin differently.
    differing = SteeringState(vector="lists", positive="red one\nred two", negative="green one\ngreen two")
    assert spec(differing, "m")["parameters"]["open_prompts"] == 0


def test_the_command_has_the_vector_of_a_run_and_quotes_the_prompt() -> None:
    said = steer_command(with_(vector="run 7", prompt="it's; $HOME", template="chat"), "m")
    assert said.startswith("mech steer m --vector 7 --coefficient 6 ") and "--plain" not in said
    assert said.endswith("'it'\"'\"'s; $HOME'")


def test_it_is_among_the_panels_and_tells_what_it_found(live: LiveModel) -> None:
    assert PANEL in PANELS
    first, second = summary(asked(live, STATE))
    assert first.startswith("baseline perplexity ") and "random direction" in first
    assert second.startswith("steered: ")


def test_lists_that_are_too_long_for_a_link_are_told_and_leave_the_address_alone() -> None:
    # Four bytes of each letter, each written as three characters in an address.
    long = SteeringState(vector="lists", positive="\U0001f600" * 2000, negative="b")
    said = links_html(PANEL, long, "m")
    assert "too long for a link" in said and "href" not in said
    assert "data-address" not in status_html("Done.", to_query(PANEL, long))
    assert "href" in links_html(PANEL, STATE, "m") and to_query(PANEL, STATE) in unescape(
        status_html("Done.", to_query(PANEL, STATE))
    )


def test_the_server_reads_its_vectors_before_it_starts(engine: Any, outside: Path) -> None:
    save_model(micro_model(), outside / "model")
    for folder in ("one", "two"):
        (outside / folder).mkdir()
        save_vector(SteeringVector({OWN_SITE: np.ones(32, np.float32)}), outside / folder / "v.gguf")
    start = ("demo", "--model", "./model", "--smoke")
    refused = engine(*start, "--vector", "one/w.gguf")
    assert refused.code == 2 and "nearest: v.gguf" in refused.err
    twice = engine(*start, "--vector", "one/v.gguf", "--vector", "two/v.gguf")
    assert twice.code == 2 and "two vectors are called v.gguf" in twice.err
