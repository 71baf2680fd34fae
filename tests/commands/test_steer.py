"""`mech steer`: a run's vector goes out in both forms, comes back, and is compared with a random one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.lab.steering_vectors import SteeringVector, VectorSource, load_vector, save_vector
from engine.models.micro import micro_model
from tests.conftest import save_model

SITE = "blocks.1.hook_resid_post"
SPEC = f"""\
title: Red or green?
question: Does a vector make cities red?
model: ./model
experiments:
  red:
    family: caa_steering
    prompts: contrasts.jsonl
    corpus: words.jsonl
    parameters:
      instruction: red
      layer: {SITE}
      text_documents: 4
      context_tokens: 8
      n_random: 1
      open_prompts: 0
      coefficients: [2]
"""
PLACES = ("France", "Spain", "Italy", "Germany", "Japan")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a micro model, contrasts and a text; the working directory."""
    root = tmp_path / "project"
    (root / "investigations").mkdir(parents=True)
    (root / "mkdocs.yml").write_text("site_name: micro\n")
    save_model(micro_model(n_layers=3), root / "model")
    rows = [
        {
            "topic": country,
            "positive": f"{noun} of {country} is red",
            "negative": f"{noun} of {country} is green",
        }
        for country in PLACES
        for noun in ("the city", "one river", "the tower")
    ]
    texts = [{"text": f"the city of {country} is the capital in {country} ."} for country in PLACES]
    for name, lines in (("contrasts", rows), ("words", texts)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "red.yaml").write_text(SPEC)
    monkeypatch.setenv("MECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


def test_a_runs_vector_is_saved_in_both_forms_and_steers_alike(engine: Any, place: Path) -> None:
    measured = engine("run", "--spec", "red.yaml", "--json")
    assert measured.code == 0, measured.err
    told = engine("steer", "model", "--vector", "1", "--save", "red.safetensors")
    assert told.code == 0, told.err
    assert told.out.strip() == f"red.safetensors: the vector at {SITE}, of ./model"
    assert engine("steer", "model", "--vector", "1", "--save", "red.gguf").code == 0
    vector = load_vector(place / "red.safetensors")
    assert list(vector.directions) == [SITE]
    source = vector.source
    assert (source.model, source.architecture, source.prompts) == ("./model", "llama", "contrasts.jsonl")
    assert source.method == "caa_steering, red/red" and len(source.prompts_hash) == len(source.run) == 64

    answers = []
    for given in ("1", "red.safetensors", "red.gguf"):
        asked = ("steer", "model", "the city of Spain is", "--vector", given, "--coefficient", "30")
        told = engine(*asked, "--tokens", "4", "--json")
        assert told.code == 0, told.err
        answers.append(told.json["completions"])
    assert answers[0] == answers[1] == answers[2]
    plain, steered, random = answers[0]
    assert [each["condition"] for each in answers[0]] == ["unmodified", "steered", "random direction"]
    assert len({plain["text"], steered["text"], random["text"]}) > 1
    assert plain["perplexity"] < steered["perplexity"]


def test_without_a_vector_times_anything_all_three_are_the_same(engine: Any, place: Path) -> None:
    made = SteeringVector({SITE: np.ones(32, np.float32)})
    save_vector(made, place / "v.safetensors")
    told = engine("steer", "model", "the city", "--vector", "v.safetensors", "--coefficient", "0", "--json")
    assert len({each["text"] for each in told.json["completions"]}) == 1
    shown = engine("steer", "model", "the city", "--vector", "v.safetensors", "--tokens", "3").out
    assert f"./model, 1 times the vector at {SITE}" in shown
    assert shown.count("(perplexity ") == 3 and "steered (" in shown


def test_coefficients_may_be_negative_and_prompts_of_any_script(engine: Any, place: Path) -> None:
    save_vector(SteeringVector({SITE: np.ones(32, np.float32)}), place / "v.safetensors")
    asked = ("steer", "model", "\u6771\u4eac the city \U0001f5fc", "--vector", "v.safetensors")
    told = engine(*asked, "--coefficient", "-2.5", "--json")
    assert told.code == 0, told.err
    assert told.json["coefficient"] == -2.5 and told.json["prompt"].endswith("\U0001f5fc")
    assert len(told.json["completions"]) == 3


def test_a_coefficient_that_breaks_the_model_is_shown_beside_what_it_leaves_whole(
    engine: Any, place: Path
) -> None:
    save_vector(SteeringVector({SITE: np.ones(32, np.float32)}), place / "v.safetensors")
    told = engine("steer", "model", "the city", "--vector", "v.safetensors", "--coefficient", "1e39")
    assert told.code == 0, told.err
    assert "steered: broken, logits are not finite" in told.out and "unmodified (perplexity" in told.out


def test_of_a_vector_made_of_refusals_the_first_words_are_shown(engine: Any, place: Path) -> None:
    source = VectorSource(method="refusal_direction, audit/qwen")
    save_vector(SteeringVector({SITE: np.ones(32, np.float32)}, source), place / "v.safetensors")
    told = engine("steer", "model", "the city", "--vector", "v.safetensors", "--tokens", "12", "--json")
    assert all(len(each["text"].split()) <= 9 for each in told.json["completions"])
    assert "more character" in told.json["completions"][0]["text"]


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["model", "the city"], "no vector is named"),
        (["model", "--vector", "v.safetensors"], "there is nothing to do"),
        (["model", "the city", "--vector", "w.safetensors"], "nearest: v.safetensors"),
        (["model", "the city", "--vector", "v.bin"], "a .safetensors or a .gguf file"),
        (["model", "the city", "--vector", "7"], "there is no run 7"),
        (["model", "the city", "--vector", "narrow.safetensors"], "of another width"),
        (["model", "the city", "--vector", "other.safetensors"], "of another model"),
        (
            ["model", "the city", "--vector", "v.safetensors", "--coefficient", "much"],
            "Invalid value for '--coefficient'",
        ),
        (
            ["model", "the city", "--vector", "v.safetensors", "--coefficient", "nan"],
            "a coefficient is a number",
        ),
        (["model", "  ", "--vector", "v.safetensors"], "nothing to go on from"),
        (["model", "the city " * 80, "--vector", "v.safetensors"], "at most 127 tokens"),
        (["modle", "the city", "--vector", "v.safetensors"], "modle"),
        (["model", "--vector", "v.safetensors", "--save", "v.gguf"], "llama.cpp cannot add a vector"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    engine: Any, place: Path, arguments: list[str], needed: str
) -> None:
    direction = np.ones(32, np.float32)
    save_vector(SteeringVector({"blocks.0.hook_resid_post": direction}), place / "v.safetensors")
    save_vector(SteeringVector({SITE: direction[:16]}), place / "narrow.safetensors")
    other = VectorSource(model="gpt2", model_hash="ab" * 32)
    save_vector(SteeringVector({SITE: direction}, other), place / "other.safetensors")
    refused = engine("steer", *arguments)
    assert refused.code == 2 and "Traceback" not in refused.err
    # Typer draws its own messages in a box, and may break a line.
    assert needed in " ".join(refused.err.replace("\u2502", " ").split()), refused.err
    assert not (place / "v.gguf").exists()


def test_a_run_that_made_no_vector_is_told(engine: Any, project: Path) -> None:
    assert engine("build").code == 0
    refused = engine("steer", "model", "x", "--vector", "1")
    assert refused.code == 2 and "run 1 made no steering vector" in refused.err
