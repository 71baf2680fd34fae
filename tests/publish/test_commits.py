"""The commit that holds what a page shows, asked of a repository made here."""

import subprocess
from pathlib import Path

import pytest

from engine.publish.commits import last_commits


def git(root: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *arguments], cwd=root, capture_output=True, check=True)
    return done.stdout.decode().strip()


def commit(root: Path, name: str, text: str) -> str:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", name)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture(params=["", "inside/of/it"], ids=["repository", "folder of one"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    git(tmp_path, "init", "-q")
    root = tmp_path / request.param
    root.mkdir(parents=True, exist_ok=True)
    return root


def test_each_folder_has_the_commit_that_changed_it_last(root: Path) -> None:
    commit(root, "investigations/a/spec.yaml", "1")
    of_b = commit(root, "investigations/b/published/m ü.json", "1")
    of_a = commit(root, "investigations/a/report.md", "1")
    commit(root, "README.md", "1")
    commit(root, "investigations/index.md", "1")
    assert last_commits(root, "investigations") == {"a": of_a, "b": of_b}
    assert last_commits(root, "publications") == {}


def test_what_is_not_committed_has_no_commit(root: Path) -> None:
    for name in ("a", "b", "c", "d"):
        last = commit(root, f"investigations/{name}/spec.yaml", "1")
    (root / "investigations/a/spec.yaml").write_text("2")
    (root / "investigations/b/new.md").write_text("2")
    (root / "investigations/c/spec.yaml").write_text("2")
    git(root, "add", "-A", "--", "investigations/c")
    assert last_commits(root, "investigations") == {"d": last}


def test_without_a_repository_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert last_commits(tmp_path, "investigations") == {}
    monkeypatch.setenv("PATH", "")
    assert last_commits(tmp_path, "investigations") == {}
