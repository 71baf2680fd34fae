"""What a revision has of investigations, read out of the repository without checking it out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.runs.published.revisions import find_commit, is_shallow, publications_of, read_out, slugs_at

SPEC = "title: A\n"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a subfolder of a repository, with one investigation that was published twice."""
    root = tmp_path / "sub"
    folder = root / "investigations/words"
    (folder / "published").mkdir(parents=True)
    git(tmp_path, "init", "-q")
    (folder / "spec.yaml").write_text(SPEC)
    for number in (1, 2):
        (folder / "published/tiny.json").write_text(f'{{"number": {number}}}\n')
        (folder / "published/tiny.count.csv").write_text(f"{number}\n")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", f"Publish {number}\n\nWith a body.")
    (folder / "report.md").write_text("# Later é\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "A report")
    return root


def test_a_revision_is_found_by_any_name_that_git_knows_and_others_are_none(project: Path) -> None:
    commit = find_commit(project, "HEAD~1")
    assert commit is not None
    assert (commit.subject, len(commit.date)) == ("Publish 2", 10)
    assert find_commit(project, commit.revision) == commit
    for wrong in ("HEAD~9", "nothing", "--all", "HEAD:sub", "", "HEAD..HEAD~1"):
        assert find_commit(project, wrong) is None, wrong


def test_the_files_of_an_investigation_are_read_out_as_they_were_and_tables_are_not(
    project: Path, tmp_path: Path
) -> None:
    commit = find_commit(project, "HEAD~2")
    assert commit is not None
    files = slugs_at(project, commit)
    assert list(files) == ["words"]
    folder = read_out(project, commit, "words", files["words"], tmp_path / "out")
    read = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert read == ["published/tiny.json", "spec.yaml"]
    assert (folder / "published/tiny.json").read_text() == '{"number": 1}\n'
    head = find_commit(project, "HEAD")
    assert head is not None
    later = read_out(project, head, "words", slugs_at(project, head)["words"], tmp_path / "later")
    assert (later / "report.md").read_text(encoding="utf-8") == "# Later é\n"


def test_publications_are_the_commits_that_changed_published_numbers_oldest_first(project: Path) -> None:
    assert [commit.subject for commit in publications_of(project, "words")] == ["Publish 1", "Publish 2"]
    assert publications_of(project, "other") == []
    assert not is_shallow(project)


def test_outside_of_a_repository_an_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no git checkout"):
        find_commit(tmp_path, "HEAD")
