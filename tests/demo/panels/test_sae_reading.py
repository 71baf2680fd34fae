"""The panel of features: its numbers are the family's, its activations the model's, its refusals plain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import engine
from engine.demo import dictionaries
from engine.demo.dictionaries import dictionary_sources, live_dictionary
from engine.demo.live_model import LiveModel
from engine.demo.panels import sae_reading
from engine.demo.panels.sae_features import PANEL, spec
from engine.demo.panels.sae_reading import SaeAnswer, SaeState, answer, searched, text_codes
from engine.errors import DemoError, RequestStopped
from engine.lab.sparse.coder import Coder, random_coder
from engine.lab.sparse.saelens import write_saelens
from engine.lab.sparse.saelens_config import CONFIG
from engine.models.micro import micro_model
from tests.conftest import save_model

SITE = "blocks.1.hook_resid_pre"
MODEL = "./micro"
TEXT = "the cat sat on the mat ."
TOKENS = 600
WORDS = ["the", "cat", "sat", "on", "mat", ".", "of", "and", "to", "in", "a", "is", "was", "that"]


def silent(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""


def sae(seed: int, n_features: int = 48, d: int = 32) -> Coder:
    return random_coder(d, n_features, 4, seed=seed)


def write(folder: Path, coder: Coder, *, model: str = MODEL, site: str = SITE) -> None:
    write_saelens(coder, folder, model_name=model, hook_name=site)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a micro model, and dictionaries of it and of others."""
    root = tmp_path_factory.mktemp("sae-panel")
    save_model(micro_model("llama", vocab_words=WORDS), root / "micro")
    config = json.loads((root / "micro/config.json").read_text())
    # Read with a BOS in front, as most models are.
    (root / "micro/config.json").write_text(json.dumps(config | {"bos_token_id": 1}))
    (root / "investigations").mkdir()  # with it a folder that models and dictionaries are called from
    (root / "mkdocs.yml").touch()
    write(root / "dictionaries/a", sae(0))
    write(root / "dictionaries/b", sae(1, n_features=40))
    write(root / "dictionaries/elsewhere", sae(2), site="blocks.0.hook_resid_pre")
    write(root / "dictionaries/wide", sae(3, d=64))
    write(root / "dictionaries/strange", sae(4), model="gpt2")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(dictionaries, "READ_TOKENS", TOKENS)
        patch.setattr("engine.demo.panels.sae_features.READ_TOKENS", TOKENS)
        yield root


@pytest.fixture(scope="module")
def live(place: Path) -> LiveModel:
    found = LiveModel(MODEL)
    found.load()
    return found


def asked(live: LiveModel, **fields: Any) -> SaeAnswer:
    given: dict[str, Any] = {"text": TEXT, "dictionary": "./dictionaries/a", "other": "none"}
    state = SaeState(**(given | fields))
    return answer(live, state, silent, lambda: False)


def test_its_numbers_are_those_of_the_experiment_that_is_copied(live: LiveModel, place: Path) -> None:
    state = SaeState(text=TEXT, dictionary="./dictionaries/a", other="./dictionaries/b")
    found = answer(live, state, silent, lambda: False)
    (place / "copied.yaml").write_text(json.dumps(spec(state, live.name)))  # JSON is YAML
    run = engine.run("copied.yaml", quiet=True)
    for name, value in found.numbers.items():
        assert value == pytest.approx(run[name], abs=1e-5), name
    assert found.n_live / found.n_latents == pytest.approx(run["frac_alive"], abs=1e-5)
    beside = found.counterparts
    assert beside is not None
    assert beside.median == pytest.approx(run["best_match"], abs=1e-5)
    assert beside.fraction_near == pytest.approx(run["fraction_090"], abs=1e-5)
    assert beside.random_cosine == pytest.approx(run["chance_best_match"], abs=1e-5)


def test_activations_are_the_coders_of_the_hugging_face_models_own_states(live: LiveModel) -> None:
    found = asked(live, latent=7)
    ids = live.model.token_ids([TEXT], special_tokens=False)[0]
    read = torch.tensor([[live.model.config["bos_token_id"], *ids]])
    with torch.no_grad():
        states = live.model.hf(read, output_hidden_states=True).hidden_states[1][0, 1:]
    coder = sae(0)
    dense = coder.encode(states)
    np.testing.assert_allclose(found.activations, dense[:, 7], atol=1e-5)
    largest = dense.max(dim=0).values
    shown = found.on_text.query("latent != 7")
    np.testing.assert_allclose(shown["activation"], largest[shown["latent"].tolist()], atol=1e-5)


def test_the_latent_that_stands_out_most_is_shown_where_none_is_asked_for(live: LiveModel) -> None:
    found = asked(live)
    assert found.latent == found.on_text["latent"].iloc[0]
    assert found.activations.max() == pytest.approx(found.on_text["activation"].iloc[0])
    fired = found.on_text.query("0 < firing_rate < 1")
    weighed = fired["activation"] * -np.log(fired["firing_rate"])
    assert len(fired) >= 2 and bool(weighed.is_monotonic_decreasing)
    assert len(found.cells) == len(found.tokens) * len(found.on_text)


def test_a_latent_that_does_not_fire_on_the_text_can_be_looked_at(live: LiveModel) -> None:
    quiet = next(n for n in range(48) if n not in set(asked(live).on_text["latent"]))
    found = asked(live, latent=quiet)
    assert found.latent == quiet
    assert quiet in set(found.on_text["latent"])


def test_top_contexts_hold_the_latents_largest_activation(live: LiveModel) -> None:
    codes = live_dictionary(live, "./dictionaries/a", silent).corpus.codes
    found = asked(live, latent=int(codes.latents[codes.values.argmax()]))
    assert found.contexts["activation"].iloc[0] == pytest.approx(
        codes.values[codes.latents == found.latent].max().item()
    )
    assert bool(found.contexts["activation"].is_monotonic_decreasing)


def test_a_latent_finds_itself_in_a_copy_of_its_dictionary(live: LiveModel) -> None:
    beside = asked(live, other="./dictionaries/a").counterparts
    assert beside is not None
    live_latents = np.flatnonzero(live_dictionary(live, "./dictionaries/a", silent).corpus.live)
    found = beside.latents[np.isin(beside.latents["latent"], live_latents)]
    assert len(found) >= 2
    assert found["latent"].tolist() == found["nearest"].tolist()
    np.testing.assert_allclose(found["cosine"], 1, atol=1e-5)
    np.testing.assert_allclose(found["correlation"], 1, atol=1e-5)
    assert beside.median == pytest.approx(1, abs=1e-5)
    assert beside.random_cosine < 0.7


def test_a_search_counts_what_fires_on_a_token(live: LiveModel) -> None:
    chosen = live_dictionary(live, "./dictionaries/a", silent)
    times, table = searched(live.model, chosen, "the")
    corpus = chosen.corpus
    here = corpus.ids == live.model.token_ids(["the"], special_tokens=False)[0][0]
    assert times == here.sum() > 0
    dense = corpus.codes.dense().numpy()
    for row in table.to_dict("records"):
        column = dense[:, int(row["latent"])]
        assert row["fires on it"] == pytest.approx((column[here] > 0).mean())
        assert row["fires on others"] == pytest.approx((column[~here] > 0).mean())
        assert row["mean activation"] == pytest.approx(column[here & (column > 0)].mean(), rel=1e-4)
    gaps = table["fires on it"] - table["fires on others"]
    assert bool(gaps.is_monotonic_decreasing)


def test_massive_activations_are_left_out_of_the_text_too(live: LiveModel) -> None:
    chosen = live_dictionary(live, "./dictionaries/a", silent)
    ids, codes, counted = text_codes(live.model, chosen, TEXT)
    assert counted.all() and len(codes) == len(ids)
    object.__setattr__(chosen.corpus, "norm_limit", 0.0)
    try:
        found = asked(live)
    finally:
        object.__setattr__(chosen.corpus, "norm_limit", float("inf"))
    assert np.isnan(found.activations).all()
    assert "No latent fires" in PANEL.summary(found)[0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": ""}, "the text is empty"),
        ({"text": "  \n"}, "the text is empty"),
        ({"text": "the cat " * 200}, "the text is too long"),
        ({"latent": 48}, "has no latent 48"),
        ({"latent": 9_999_999}, "expected: 0 to 47"),
        ({"dictionary": "./dictionaries/wide"}, "of another width"),
        ({"dictionary": "./dictionaries/strange"}, "of another model"),
        ({"dictionary": "./dictionaries/c"}, "nearest: ./dictionaries/"),
        ({"dictionary": "../../etc"}, "is offered here"),
        ({"dictionary": "run 7"}, "is offered here"),
        ({"other": "./dictionaries/elsewhere"}, "same activations"),
        ({"other": "./dictionaries/wide"}, "of another width"),
        ({"token": "the cat"}, "is not one token"),
    ],
)
def test_what_cannot_be_shown_is_refused_without_a_path(
    live: LiveModel, place: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(DemoError) as refused:
        asked(live, **fields)
    assert said in str(refused.value)
    assert str(place) not in str(refused.value)


def test_a_word_that_never_comes_is_found_nowhere_and_is_no_error(live: LiveModel) -> None:
    found = asked(live, token="zzz")
    assert found.searched == "zzz"
    # The micro tokenizer reads it as an unknown word, which comes often.
    assert found.occurrences > 0


def test_only_dictionaries_of_this_model_are_offered(live: LiveModel) -> None:
    names = [source.name for source in dictionary_sources(live.name)]
    assert names == [f"./dictionaries/{name}" for name in ("a", "b", "elsewhere", "wide")]
    assert asked(live, dictionary="").dictionary == "./dictionaries/a"


def test_the_corpus_is_read_once_for_a_site_and_a_reader_who_cancels_ends_it(place: Path) -> None:
    fresh = LiveModel(MODEL)
    fresh.load()
    heard: list[str] = []

    def stopping(fraction: float, words: str = "", /) -> None:
        heard.append(words)
        if "activations of" in words:
            raise RequestStopped("this request was cancelled")

    state = SaeState(text=TEXT, dictionary="./dictionaries/a", other="./dictionaries/b")
    with pytest.raises(RequestStopped):
        answer(fresh, state, stopping, lambda: False)
    heard.clear()
    answer(fresh, state, lambda fraction, words="", /: heard.append(words), lambda: False)
    assert sum("packaged corpus" in words for words in heard) == 1
    heard.clear()
    answer(fresh, state, lambda fraction, words="", /: heard.append(words), lambda: False)
    assert heard == ["reading the text", "comparing latents"]


def test_a_broken_folder_is_not_offered(live: LiveModel, place: Path) -> None:
    broken = place / "dictionaries/broken"
    broken.mkdir()
    (broken / CONFIG).write_text("{")
    try:
        assert "./dictionaries/broken" not in [s.name for s in dictionary_sources(live.name)]
        with pytest.raises(DemoError, match="is offered here"):
            asked(live, dictionary="./dictionaries/broken")
    finally:
        (broken / CONFIG).unlink()
        broken.rmdir()


def test_examples_are_texts_of_the_investigations_and_the_first_is_the_default(live: LiveModel) -> None:
    found = sae_reading.examples(live)
    assert found[0] == SaeState()
    assert len({state.text for state in found}) == len(found) >= 5
    facts = live.prompts("facts").table["clean"].tolist()
    assert found[0].text in facts
