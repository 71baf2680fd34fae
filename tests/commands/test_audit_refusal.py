"""`mech audit-refusal` on planted chat models: what it answers, what it refuses, and that it says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.commands.audit_refusal import enough_requests
from engine.errors import DataError
from engine.lab.planted_gate import TEMPLATE, gate_model, gate_prompts
from engine.runs import refusal_audit
from engine.runs.sources import project_sources
from tests.conftest import Answer, save_model

QUICK: Mapping[str, Any] = {
    "positive_control": "",  # a model of forty words has no French
    "max_new_tokens": 2,
    "screen_prompts": 4,
    "n_random": 2,
    "n_shuffled": 1,
}
ANSWERS = ("Does the model refuse?", "Separable?", "Controllable by adding it at its layer?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model whose direction gates refusal, one where it gates nothing, and their requests.

    Its store is that of all tests here: the same question is measured once.
    """
    folder = tmp_path_factory.mktemp("audits")
    for name, gates in (("gate", True), ("no-gate", False)):
        save_model(gate_model(gates=gates), folder / name)
        (folder / name / "chat_template.jinja").write_text(TEMPLATE)
    save_model(gate_model(gates=True), folder / "base")
    # Finer topics: of six that all behave alike no interval of a share is narrow enough to say anything.
    table = gate_prompts().table
    opening = table["request"].str.split().str[0]
    table.assign(topic=table["topic"] + " " + opening).to_csv(folder / "requests.csv", index=False)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the working directory."""
    monkeypatch.setenv("MECH_CACHE", str(folder / "cache"))
    monkeypatch.setattr(refusal_audit, "PARAMETERS", QUICK)
    monkeypatch.chdir(folder)
    return folder


def audit(engine: Callable[..., Answer], model: str, *more: str) -> Answer:
    given = ("--n", "36", "--prompts", "requests.csv", "--dtype", "float32")
    return engine("audit-refusal", model, *given, *more)


def test_a_direction_that_gates_refusal_is_found_to_control_it(
    here: Path, engine: Callable[..., Answer]
) -> None:
    answer = audit(engine, "./gate", "--html", "page.html", "--json")
    assert answer.code == 0, answer.err
    told = {each["question"]: each["answer"] for each in answer.json["answers"]}
    assert told["Does the model refuse?"] == "yes"
    assert told["Controllable by taking the direction out at every layer?"] == "yes"
    assert told["Controllable by weights that cannot write it?"] == "yes"
    assert told["Controllable by adding it at its layer?"] == "yes"
    # The next layer writes it again; and without a positive control an absence of effect says nothing.
    assert told["Controllable by taking it out at its own layer alone?"] == "cannot be told"
    page = (here / "page.html").read_text()
    assert page.index("Answers") < page.index("Refusals by intervention and scorer") < page.index("Findings")
    assert "No positive control was measured" in page
    assert "mech audit-refusal ./gate --n 36 --dtype float32 --prompts requests.csv" in page


def test_the_same_question_is_measured_once_and_answered_in_words(
    here: Path, engine: Callable[..., Answer]
) -> None:
    assert audit(engine, "./gate").code == 0
    again = audit(engine, "./gate", "--html", "again.html")
    assert "was audited before: run 1" in again.out
    for question in ANSWERS:
        assert question in again.out
    assert "written to again.html" in again.out


def test_a_direction_that_only_tells_is_not_said_to_control(
    here: Path, engine: Callable[..., Answer]
) -> None:
    answer = audit(engine, "./no-gate", "--json")
    assert answer.code == 0, answer.err
    told = {each["question"]: each["answer"] for each in answer.json["answers"]}
    assert told["Does the model refuse?"] == "yes"
    assert "yes" not in [word for question, word in told.items() if question.startswith("Controllable")]
    assert answer.json["measurements"]["auc"]["value"] == 1


def test_a_dry_run_says_how_long_it_would_take_and_measures_nothing(
    here: Path, engine: Callable[..., Answer]
) -> None:
    answer = audit(engine, "./gate", "--prompts", "refusal", "--dry-run", "--html", "dry.html")
    assert answer.code == 0, answer.err
    assert "To measure: " in answer.out and "; estimate from " in answer.out
    told = audit(engine, "./gate", "--prompts", "refusal", "--dry-run", "--json")
    (run,) = told.json["runs"]
    # By an earlier audit here, or by how fast this machine multiplies: in no case a guess.
    assert (run["decision"], run["is_guess"]) == ("measure", False)
    assert not (here / "dry.html").exists()


BAD: Mapping[str, tuple[list[str], str]] = {
    "no such model": (["smollm2-135-instruct"], "nearest: smollm2-135m-instruct"),
    "a base model": (["./base"], "base has no chat template"),
    "no such folder": (["./gate", "--html", "nowhere/page.html"], "no such folder"),
    "too many for the prompts": (["./gate", "--n", "90"], "try: --n 36"),
    "no such number format": (["./gate", "--dtype", "bfloat"], "no number format is called 'bfloat'"),
    "no such device": (["./gate", "--device", "gpu"], "no device is called 'gpu'"),
    "no such prompts": (["./gate", "--prompts", "refusals"], "nearest: refusal"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_message_before_anything_is_loaded(
    here: Path, engine: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("engine.models.fast_dtype.product_rates", lambda device="cpu": 1 / 0)
    given, told = BAD[case]
    answer = engine("audit-refusal", "--prompts", "requests.csv", "--n", "30", "--html", "bad.html", *given)
    assert answer.code == 2
    assert told in answer.err
    assert "Traceback" not in answer.err
    assert not (here / "bad.html").exists()


def test_fewer_than_the_least_are_refused_by_the_option(here: Path, engine: Callable[..., Answer]) -> None:
    answer = audit(engine, "./gate", "--n", "5")
    assert answer.code == 2
    assert "20" in answer.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop(columns="label"), "no labels"),
        (lambda table: table.assign(label="harmful"), "168 harmful"),
        (lambda table: table.replace({"label": {"harmless": "fine"}}), "84 fine, 84 harmful"),
        (lambda table: table.head(40), "too few requests to measure on 20"),
    ],
)
def test_requests_of_ones_own_must_be_enough_of_both_kinds(
    here: Path, change: Callable[[pd.DataFrame], pd.DataFrame], told: str
) -> None:
    change(pd.read_csv("requests.csv")).to_csv("mine.csv", index=False)
    with pytest.raises(DataError) as refused:
        enough_requests("mine.csv", 20, project_sources())
    assert told in str(refused.value)


def test_a_limit_is_named_only_where_some_requests_are_left_out(here: Path) -> None:
    sources = project_sources()
    assert enough_requests("requests.csv", 36, sources) == {"name": "requests.csv"}
    assert enough_requests("requests.csv", 20, sources) == {"name": "requests.csv", "limit": 94}
    assert enough_requests("refusal", 100, sources) == {"name": "refusal", "limit": 468}
