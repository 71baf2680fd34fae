"""What the panel of features shows: values to be read and reached, markup as text, a spec that is valid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from engine.demo.address import from_query, to_query
from engine.demo.panels.sae_features import (
    PANEL,
    contexts_html,
    counterparts_html,
    found_html,
    search_html,
    shown,
    spec,
    tokens_html,
    with_latent,
)
from engine.demo.panels.sae_reading import (
    Counterparts,
    SaeAnswer,
    SaeState,
    cells_figure,
    cosines_figure,
    matches_figure,
)
from engine.errors import DemoError
from engine.runs.sources import project_sources
from engine.spec.load import load_spec

HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ["smollm2-135m-layer15-seed0", "smollm2-135m-layer15-seed1"]
MODEL = "smollm2-135m-instruct"


@pytest.fixture
def found() -> SaeAnswer:
    """An answer made by hand, with markup wherever a text of a reader or of a corpus can stand."""
    latents = pd.DataFrame(
        {
            "latent": [3, 5],
            "nearest": [8, 2],
            "cosine": [0.95, 0.2],
            "correlation with it": [0.9, 0.1],
            "fires most alike": [8, 4],
            "correlation": [0.9, 0.3],
        }
    )
    matches = pd.DataFrame({"series": ["live latents", "random directions"], "best_match": [0.95, 0.1]})
    cells = pd.DataFrame(
        {"position": [f"0 {HOSTILE}", "1 b"], "latent": ["3", "3"], "activation": [2.5, 0.0]}
    )
    cosines = pd.DataFrame({"latent": ["3", "3"], "other latent": ["3", "5"], "cosine": [1.0, 0.1]})
    return SaeAnswer(
        dictionary="mine",
        hook_site="blocks.1.hook_resid_pre",
        tokens=[HOSTILE, " b", "\n", "c"],
        latent=3,
        activations=np.array([2.5, 0.0, 1.25, np.nan]),
        on_text=pd.DataFrame(
            {
                "latent": [3, 5],
                "activation": [2.5, 1.0],
                "token": [HOSTILE, "b"],
                "position": [0, 1],
                "fires on the text": [2, 1],
                "firing_rate": [0.02, 0.5],
            }
        ),
        cells=cells,
        cells_figure=cells_figure(),
        n_latents=10,
        n_live=8,
        corpus_tokens=1_000,
        numbers={"explained_variance": 0.7, "random_explained_variance": 0.1, "l0": 4.0},
        contexts=pd.DataFrame({"text": [f"⟪{HOSTILE}|3.5⟫ and ⟪more|1.2⟫"]}),
        cosines=cosines,
        cosines_figure=cosines_figure(),
        counterparts=Counterparts("theirs", latents, 0.4, 0.1, 0.15, 0.05, matches, matches_figure("theirs")),
        searched=HOSTILE,
        occurrences=2,
        search=pd.DataFrame(
            {"latent": [3], "fires on it": [0.5], "fires on others": [0.1], "mean activation": [2.0]}
        ),
    )


def test_each_token_that_fires_is_reached_by_keyboard_and_says_its_value(found: SaeAnswer) -> None:
    html = tokens_html(found)
    marks = re.findall(r'<mark class="mech-token" tabindex="0"[^>]*>(.*?)</mark>', html)
    assert len(marks) == 2
    assert "(2.5)" in marks[0] and "(1.25)" in marks[1]
    # The strongest has the whole colour, the other one half of it.
    assert re.findall(r"--mech-strength: (\d+)%", html) == ["100", "50"]
    assert html.count("mech-left-out") == 1 and "massive activation" in html


def test_markup_in_a_text_stays_text_wherever_it_is_shown(found: SaeAnswer) -> None:
    for html in [*shown(found), found_html(found), contexts_html(found), search_html(found)]:
        assert "<img" not in html
    assert "&lt;img" in tokens_html(found)


def test_the_words_say_whether_there_is_a_counterpart_and_what_chance_gives(found: SaeAnswer) -> None:
    html = counterparts_html(found)
    assert "Latent 3 has a counterpart: by direction latent 8 of theirs, cosine 0.95 (chance 0.15)" in html
    assert "correlation 0.90 (chance 0.05)" in html
    other = "".join(PANEL.summary(_with(found, latent=5)))
    assert "has a relative and no counterpart" in other
    none = _with(found, counterparts=None)
    assert "No second dictionary is chosen" in counterparts_html(none)
    assert len(PANEL.summary(none)) == 2
    assert "8 of 10 latents are live and 2 dead on 1,000 tokens" in PANEL.summary(none)[1]


def test_a_latent_below_chance_has_no_counterpart(found: SaeAnswer) -> None:
    beside = found.counterparts
    assert beside is not None
    weak = Counterparts(**{**vars(beside), "random_cosine": 0.3, "shuffled": 0.5})
    assert "no counterpart beyond chance" in "".join(PANEL.summary(_with(found, latent=5, counterparts=weak)))


def test_a_click_chooses_the_latent_of_its_cell() -> None:
    state = SaeState(text="a")
    assert with_latent(state, {"latent": "17", "activation": 2.0}) == SaeState(text="a", latent=17)
    for datum in ({}, {"latent": "x"}, {"latent": "-1"}, {"latent": "²"}, {"latent": "9" * 40}):
        with pytest.raises(DemoError, match="no latent"):
            with_latent(state, datum)


def test_a_state_goes_into_an_address_and_back() -> None:
    assert to_query(PANEL, SaeState()) == "?panel=sae"
    state = SaeState(text="a & b", dictionary=NAMES[1], other="none", latent=0, token=" the")
    assert from_query(to_query(PANEL, state), PANEL) == state
    for query in ("?panel=sae&latent=-1", "?panel=sae&latent=x", "?panel=sae&text=" + "x" * 3000):
        with pytest.raises(DemoError):
            from_query(query, PANEL)


def test_the_spec_of_the_first_state_names_the_packaged_dictionaries_and_is_valid(tmp_path: Path) -> None:
    experiment = spec(SaeState(), MODEL)
    assert experiment["parameters"]["coder"] == NAMES[0]
    assert experiment["parameters"]["other"] == NAMES[1]
    assert "other" not in spec(SaeState(other="none"), MODEL)["parameters"]
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(experiment))
    assert load_spec(path, project_sources().catalog)


def _with(found: SaeAnswer, **changes: object) -> SaeAnswer:
    return SaeAnswer(**{**vars(found), **changes})  # type: ignore[arg-type]
