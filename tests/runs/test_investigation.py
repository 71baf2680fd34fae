"""Investigations on disk, and the names that a person calls experiments by."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import EngineError, SpecError
from engine.runs.investigation import find_experiment, find_investigation, find_root, load_investigation


def test_the_project_is_found_from_any_folder_in_it(toy: Any) -> None:
    assert find_root(toy.root / "investigations" / "words") == toy.root
    with pytest.raises(EngineError, match=r"not inside a project(?s:.)*mkdocs\.yml"):
        find_root(toy.root.parent)


def test_every_investigation_is_found_and_one_by_name(toy: Any) -> None:
    toy.spec(slug="another", count={})
    assert [i.slug for i in toy.investigations()] == ["another", "words"]
    found = find_investigation(toy.root, "words", toy.sources().catalog)
    assert found.template_path.read_text() == "# Words\n"
    with pytest.raises(SpecError, match=r"no investigation 'word'(?s:.)*nearest: words"):
        find_investigation(toy.root, "word", toy.sources().catalog)


def test_an_experiment_answers_to_its_path_and_to_the_name_it_was_given(toy: Any) -> None:
    toy.spec(count={}, other={"name": "the-other"})
    investigations = toy.investigations()
    assert [find_experiment(investigations, n)[1] for n in ("words/count", "words/other", "the-other")] == [
        "count",
        "other",
        "other",
    ]
    assert (
        investigations[0].command("other", "org/a model") == "mech run --name the-other --model 'org/a model'"
    )
    with pytest.raises(SpecError, match=r"no experiment 'words/cuont'(?s:.)*nearest: words/count"):
        find_experiment(investigations, "words/cuont")


def test_a_spec_file_of_any_name_is_an_investigation_of_its_own(toy: Any) -> None:
    path = toy.write("mine.yaml", "family: count_words\nmodel: tiny\nparameters: {k: 3}\n")
    mine = load_investigation(path, toy.sources().catalog)
    assert (mine.slug, list(mine.spec.experiments)) == ("mine", ["count_words"])
    assert mine.command("count_words", "tiny") == "mech run --spec mine.yaml --model tiny"


def test_a_link_out_of_the_repository_stops_what_reads_investigations(toy: Any) -> None:
    (toy.root.parent / "secret.md").write_text("a secret of the machine")
    report = toy.root / "investigations/words/report.md"
    report.unlink()
    report.symlink_to(toy.root.parent / "secret.md")
    with pytest.raises(SpecError, match="leads out of the repository") as caught:
        toy.investigations()
    assert caught.value.where == "investigations/words/report.md"


@pytest.mark.parametrize("slug", ['"><script>alert(1)', "a b", "&amp;"])
def test_the_name_of_a_folder_is_a_slug(toy: Any, slug: str) -> None:
    (toy.root / "investigations/words").rename(toy.root / "investigations" / slug)
    with pytest.raises(SpecError, match="no slug"):
        toy.investigations()
