"""What a run reads is read in the plan, before any model is loaded, and once for the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError, DataUnavailable
from engine.runs.planning.data_checks import DataChecks
from engine.runs.sources import check_corpus, check_prompts, project_sources
from engine.spec.document import Loc
from engine.spec.inputs import PAIRS
from engine.spec.load import load_spec, places_in
from engine.spec.models import CorpusChoice, PromptChoice

HEADER = "id,relation,subject,corrupted_subject,clean,corrupted,answer,wrong_answer"
PERU = {
    "id": "pe",
    "relation": "capital",
    "subject": "Peru\u0301",  # u and a combining accent: two code points
    "corrupted_subject": "Chile",
    "clean": "Fact: The capital of Per\u00fa is",  # one code point
    "corrupted": "Fact: The capital of Chile is",
    "answer": " Lima",
    "wrong_answer": " Santiago",
}
SPEC = """\
title: Data that cannot be read
question: Is it told?
model: smollm2-135m-instruct
experiments:
  lens: {family: logit_lens, prompts: facts.csv}
"""
CORPUS_SPEC = """\
title: A corpus that cannot be read
question: Is it told?
model: smollm2-135m-instruct
experiments:
  layer0:
    family: polysemanticity_sae
    hook_site: blocks.0.hook_resid_pre
    corpus: {name: own.jsonl, tokens: 10}
    parameters: {n_features: 64, k: 4}
"""


def windows_prompts(folder: Path) -> None:
    rows = f"{HEADER}\r\nfr,capital,France,Italy,Fact\x92s: France is,Fact\x92s: Italy is, Paris, Rome\r\n"
    (folder / "facts.csv").write_bytes(rows.encode("latin1"))


def half_a_character(folder: Path) -> None:
    lines = [json.dumps({"text": f"Document {number}."}) for number in range(7)]
    (folder / "own.jsonl").write_text("\n".join([*lines, '{"text": "half \\ud83d of one"}\n']))
    (folder / "spec.yaml").write_text(CORPUS_SPEC)


def missing_prompts(folder: Path) -> None:
    (folder / "fact.csv").write_text(f"{HEADER}\n")


COMMANDS = [["build", "--dry-run"], ["build"], ["build", "--budget", "0"], ["check"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (windows_prompts, ["facts.csv:2", "0x92"]),
        (half_a_character, ["own.jsonl:8", "half of a character"]),
        (missing_prompts, ["facts.csv", "fact.csv"]),
    ],
)
def test_data_that_cannot_be_read_ends_every_command_before_a_model_is_loaded(
    tmp_path: Path,
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    told: list[str],
    command: list[str],
) -> None:
    def loads(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("engine.runs.sources._load_model", loads)
    folder = tmp_path / "investigations/spoiled"
    folder.mkdir(parents=True)
    (tmp_path / "mkdocs.yml").write_text("site_name: spoiled\n")
    (folder / "report.md").write_text("Nothing yet.\n")
    (folder / "spec.yaml").write_text(SPEC)
    spoil(folder)
    monkeypatch.chdir(tmp_path)
    answer = engine(*command)
    assert answer.code == 2
    assert all(part in answer.err for part in told), answer.err


def test_a_subject_that_only_looks_otherwise_is_found(tmp_path: Path) -> None:
    chile = {**PERU, "id": "cl", "clean": "Fact: The capital city of Per\u00fa is"}
    for subject, clean in (("Peru\u0301", "Per\u00fa"), ("Per\u00fa", "Peru\u0301")):
        spelled = {**PERU, "subject": subject, "clean": f"Fact: The capital of {clean} is"}
        lines = [json.dumps(row, ensure_ascii=False) for row in (spelled, chile)]
        (tmp_path / "own.jsonl").write_text("\n".join(lines))
        assert check_prompts(PromptChoice(name="own.jsonl"), tmp_path, PAIRS, str) == 2
    without = {**PERU, "subject": "Per"} | {"clean": "Fact: The capital of Chile was"}
    (tmp_path / "own.jsonl").write_text(json.dumps(without))
    with pytest.raises(DataError, match=r"own\.jsonl:1: the clean prompt does not contain its subject"):
        check_prompts(PromptChoice(name="own.jsonl"), tmp_path, PAIRS, str)


def test_one_prompt_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"spec\.yaml:1:1: one prompt is too few"):
        check_prompts(PromptChoice(name="facts", limit=1), tmp_path, PAIRS, nowhere)


def test_a_corpus_is_counted_in_about_as_many_tokens_as_are_taken(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("word " * 400)
    assert check_corpus(CorpusChoice(name="own.txt"), tmp_path) == 500
    assert check_corpus(CorpusChoice(name="own.txt", tokens=20), tmp_path) == 20
    assert check_corpus(CorpusChoice(name="smollm2-samples", tokens=20_000), tmp_path) == 20_000


def nowhere(loc: Loc) -> str:
    """The place in a spec of what stands inside of `prompts:`, where none is on disk."""
    return "spec.yaml:1:1"


def counting(toy: Any) -> tuple[Any, list[str]]:
    """The toy's sources, and the names of what they read through."""
    sources, read = toy.sources(), []

    def check(choice: PromptChoice | CorpusChoice, base: Path, *_: object) -> int:
        read.append(choice.name or "")
        return 3

    return replace(sources, check_prompts=check, check_corpus=check), read


def test_the_same_bytes_are_read_through_once_also_by_the_next_plan(toy: Any, tmp_path: Path) -> None:
    sources, read = counting(toy)
    folder, cache = toy.root / "investigations/words", tmp_path / "data.json"
    choice = PromptChoice(name="words.csv")
    first = DataChecks(sources, "reader", cache)
    assert first.prompts(choice, folder, "count_words", nowhere).amount == 3
    first.prompts(choice, folder, "count_words", nowhere)
    first.save()
    DataChecks(sources, "reader", cache).prompts(choice, folder, "count_words", nowhere)
    assert read == ["words.csv"]
    DataChecks(sources, "another reader", cache).prompts(choice, folder, "count_words", nowhere)
    DataChecks(sources, "reader", cache).prompts(
        PromptChoice(name="words.csv", limit=1), folder, "count_words", nowhere
    )
    toy.edit("investigations/words/words.csv", "a,b", "a,c")
    DataChecks(sources, "reader", cache).prompts(choice, folder, "count_words", nowhere)
    assert len(read) == 4


def test_a_cache_that_cannot_be_read_or_written_is_done_without(toy: Any, tmp_path: Path) -> None:
    sources, read = counting(toy)
    cache = tmp_path / "data.json"
    cache.write_text("[")
    checks = DataChecks(sources, "", cache)
    checks.prompts(PromptChoice(name="words.csv"), toy.root / "investigations/words", "count_words", nowhere)
    assert read == ["words.csv"]
    cache.unlink()
    replace_folder = DataChecks(sources, "", tmp_path / "nowhere/data.json", grown=True)
    replace_folder.save()
    assert not (tmp_path / "nowhere").exists()


def test_a_corpus_out_of_reach_is_told_and_is_no_mistake(toy: Any) -> None:
    def out_of_reach(choice: CorpusChoice, base: Path) -> str:
        raise DataUnavailable("the hub does not answer", seen="timeout")

    checks = DataChecks(replace(toy.sources(), corpus_hash=out_of_reach))
    facts = checks.corpus(CorpusChoice(name="openwebtext-100", tokens=500), toy.root, "spec.yaml")
    assert (facts.hash, facts.amount) == ("", 500)
    assert facts.out_of_reach == "the hub does not answer (timeout)"


NATURAL = "prompt,answer\nThe capital of France is,Paris\nThe capital of Italy is,Rome\n"
PROMPTS_SPEC = """\
title: Prompts
question: Is it told?
model: smollm2-135m-instruct
experiments:
  one:
    family: {family}
    prompts: {prompts}
"""


def told(folder: Path, family: str, prompts: str, natural: str = NATURAL) -> tuple[DataError, Path]:
    """What a plan says of a spec with these prompts, beside which `own.csv` lies."""
    (folder / "own.csv").write_text(natural)
    spec = folder / "spec.yaml"
    spec.write_text(PROMPTS_SPEC.format(family=family, prompts=prompts))
    sources = project_sources()
    experiment = load_spec(spec, sources.catalog).experiments["one"]
    assert experiment.prompts is not None

    def place(loc: Loc) -> str:
        return places_in(spec)(("experiments", "one", "prompts", *loc))

    with pytest.raises(DataError) as caught:
        DataChecks(sources).prompts(experiment.prompts, folder, experiment.family, place)
    return caught.value, spec


def test_a_misspelt_cluster_column_is_told_with_the_line_of_the_spec_and_with_the_file(
    tmp_path: Path,
) -> None:
    error, spec = told(tmp_path, "logit_lens", "{name: own.csv, clusters: anser}")
    assert error.where == f"{spec}:7:40: experiments.one.prompts.clusters"
    assert error.expected == f"a column of {tmp_path / 'own.csv'}: prompt, answer"
    assert error.near == ("answer",)


def test_a_fault_of_the_file_is_told_with_its_line_and_with_that_of_the_spec(tmp_path: Path) -> None:
    error, spec = told(tmp_path, "logit_lens", "own.csv", NATURAL + "x,\n")
    assert error.where == f"{tmp_path / 'own.csv'}:4"
    assert error.named_at == f"{spec}:7:14: experiments.one.prompts"
    assert f"named at: {spec}:7:14" in str(error)


def test_a_fault_in_rows_of_the_spec_is_told_with_line_and_column(tmp_path: Path) -> None:
    rows = "\n      rows:\n        - {prompt: x, answer: y}\n        - {prompt: z, answer: ' '}"
    error, spec = told(tmp_path, "logit_lens", rows)
    assert (error.problem, error.named_at) == ("answer is empty", "")
    assert error.where == f"{spec}:10:31: experiments.one.prompts.rows[1].answer"
    again = rows.replace("z, answer: ' '", "x, answer: z")
    error, _ = told(tmp_path, "logit_lens", again)
    assert error.seen == "line 10 repeats line 9: prompt is equal"


def test_prompts_of_another_kind_name_the_families_for_which_they_are_enough(tmp_path: Path) -> None:
    error, spec = told(tmp_path, "circuit_patching", "own.csv")
    assert error.problem == "these are prompts with answers, and pairs are read by circuit_patching"
    assert error.expected == "the columns id, relation, clean, corrupted, answer, wrong_answer"
    assert error.seen == "prompt, answer"
    enough = "causal_scrubbing, direct_logit_attribution, logit_lens, tuned_lens"
    assert error.hint == f"these prompts are enough for {enough}"
    assert error.named_at == f"{spec}:7:14: experiments.one.prompts"


def test_prompts_out_of_reach_are_told_and_are_no_mistake(toy: Any) -> None:
    def out_of_reach(choice: PromptChoice, base: Path) -> str:
        raise DataUnavailable("the hub does not answer", seen="timeout")

    checks = DataChecks(replace(toy.sources(), data_hash=out_of_reach))
    facts = checks.prompts(PromptChoice(name="org/set"), toy.root, "count_words", nowhere)
    assert (facts.hash, facts.out_of_reach) == ("", "the hub does not answer (timeout)")
