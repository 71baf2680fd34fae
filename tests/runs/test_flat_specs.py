"""Flat specs in a folder `experiments/`: found by name, with or without a project around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError, SpecError
from engine.runs.flat_specs import flat_specs, folder_with_experiments, spec_files
from engine.runs.investigation import find_named, find_root_or_here

FLAT = "family: count_words\nmodel: tiny\n"


def folder(root: Path, **files: str) -> Path:
    """A folder with these files in `experiments/`; `sweeps__k` is `sweeps/k.yaml`."""
    for name, text in files.items():
        path = root / "experiments" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_spec_is_found_by_its_name_its_path_and_its_file(tmp_path: Path) -> None:
    root = folder(
        tmp_path,
        plain=FLAT,
        words=f"name: my words\n{FLAT}",
        sweeps__words=f"name: words by k\n{FLAT}sweep: {{k: [1, 2]}}\n",
        whole="title: x\nexperiments: {a: {family: count_words, name: given}, b: {family: count_words}}\n",
    )
    names = flat_specs(root).names
    top, sweep = root / "experiments/words.yaml", root / "experiments/sweeps/words.yaml"
    assert names["my words"] == [(top, "my_words")]
    assert names["words by k"] == names["sweeps/words"] == [(sweep, "words_by_k")]
    # The path that is meant exactly, and not whatever else has a file of that name.
    assert names["words"] == [(top, "my_words")]
    assert names["plain"] == names["plain/count_words"] == [(root / "experiments/plain.yaml", "count_words")]
    assert [names[name][0][1] for name in ("whole/a", "given", "whole/b")] == ["a", "a", "b"]
    assert "whole" not in names


def test_hidden_files_and_other_files_are_no_specs(tmp_path: Path) -> None:
    folder(tmp_path, lens=FLAT, deep__er__lens=FLAT, deep__er__still__lens=FLAT)
    (tmp_path / "experiments/.ipynb_checkpoints").mkdir()
    (tmp_path / "experiments/.ipynb_checkpoints/lens.yaml").write_text(FLAT)
    (tmp_path / "experiments/notes.md").write_text("# Notes\n")
    shown = [path.relative_to(tmp_path / "experiments").as_posix() for path in spec_files(tmp_path)]
    assert shown == ["deep/er/lens.yaml", "lens.yaml"]


def test_the_nearest_folder_upwards_is_taken(tmp_path: Path) -> None:
    folder(tmp_path, lens=FLAT)
    inner = folder(tmp_path / "inner", lens=FLAT)
    (inner / "experiments/sweeps").mkdir()
    assert folder_with_experiments(inner / "experiments/sweeps") == inner
    # A folder of that name without specs is something else's.
    (tmp_path / "other/experiments").mkdir(parents=True)
    assert folder_with_experiments(tmp_path / "other") == tmp_path


def test_a_name_is_found_without_a_project_from_below(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "published", sweeps__k=f"name: by-k\n{FLAT}sweep: {{k: [1, 2]}}\n")
    monkeypatch.chdir(root / "experiments")
    where, investigation, experiment = find_named("by-k", toy.sources().catalog)
    assert (where, investigation.slug, experiment) == (root, "k", "by-k")
    assert find_root_or_here() == root
    assert investigation.command("by-k", "tiny") == "mech run --name by-k --model tiny"


def test_a_project_has_the_names_of_its_investigations_and_of_its_experiments(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(toy.root, lens=FLAT)
    monkeypatch.chdir(toy.root / "experiments")
    found = {name: find_named(name, toy.sources().catalog) for name in ("words/count", "lens")}
    assert {root for root, _, _ in found.values()} == {toy.root}
    assert [found[name][1].slug for name in found] == ["words", "lens"]


def test_a_name_that_two_files_give_is_told_with_both(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "twice", a=f"name: same\n{FLAT}", b=f"name: same\n{FLAT}")
    monkeypatch.chdir(root)
    with pytest.raises(SpecError, match="2 experiments are called 'same'") as caught:
        find_named("same", toy.sources().catalog)
    assert caught.value.seen == f"{root}/experiments/a.yaml, {root}/experiments/b.yaml"


def test_a_broken_file_keeps_no_other_from_being_found_and_is_named_where_nothing_is(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "broken", a="name: [\n", lens=FLAT, list="- 1\n")
    monkeypatch.chdir(root)
    assert find_named("lens", toy.sources().catalog)[2] == "count_words"
    with pytest.raises(SpecError, match="no experiment 'lenz'") as caught:
        find_named("lenz", toy.sources().catalog)
    assert caught.value.near[0] == "lens"
    assert "a.yaml:2" in caught.value.hint


def test_what_is_wrong_in_the_spec_that_is_meant_is_told(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path / "wrong", lens=f"{FLAT}parametres: {{k: 1}}\n"))
    with pytest.raises(SpecError, match=r"lens\.yaml:3:1: parametres: unknown key"):
        find_named("lens", toy.sources().catalog)


def test_outside_of_both_it_says_what_is_looked_for(
    toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path / "nothing")
    with pytest.raises(EngineError, match=r"with specs in experiments/, here or above"):
        find_named("lens", toy.sources().catalog)
