"""No file of a repository leads a build to a file elsewhere: by a path, a link or a hidden folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import DataError, StoreError
from engine.spec.repository_files import (
    inside,
    project_of,
    read_beside,
    refuse_links_out,
    with_home,
    without_root,
)

SECRET = "a secret of the machine"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with one investigation, beside a file that is nobody's business."""
    root = tmp_path / "project"
    (root / "investigations/words").mkdir(parents=True)
    (root / "mkdocs.yml").touch()
    (tmp_path / "secret.csv").write_text(SECRET)
    (root / ".git").mkdir()
    (root / ".git/config").write_text(SECRET)
    (root / "facts.csv").write_text("prompt,answer")
    return root


def test_content_belongs_to_its_project_and_a_persons_own_folder_to_none(root: Path) -> None:
    assert project_of(root / "investigations/words") == root
    assert project_of(root / "investigations/words/../words") == root
    assert project_of(root / "experiments") is None
    assert project_of(root.parent) is None


@pytest.mark.parametrize(
    "name", ["/secret.csv", "../../../secret.csv", "../../.git/config", "link.csv", "up"]
)
def test_a_path_or_link_that_leads_out_is_refused(root: Path, name: str) -> None:
    folder = root / "investigations/words"
    (folder / "link.csv").symlink_to(root.parent / "secret.csv")
    (folder / "up").symlink_to(root.parent)
    path = root.parent / name[1:] if name.startswith("/") else folder / name
    with pytest.raises(DataError, match="leads out of the repository") as caught:
        inside(path, folder, DataError, "spec.yaml:4:3")
    assert caught.value.where == "spec.yaml:4:3"
    assert SECRET not in str(caught.value)
    assert inside(path, root.parent, DataError) == path  # what a person runs reads what that person may


def test_a_path_in_the_repository_is_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "investigations/words"
    (folder / "link.csv").symlink_to(root / "facts.csv")
    for path in (folder / "../../facts.csv", folder / "link.csv", root / "facts.csv", folder / "missing.csv"):
        assert inside(path, folder, DataError) == path
    monkeypatch.setenv("MECH_DATA", f"/nowhere:{root.parent}")
    assert inside(root.parent / "secret.csv", folder, DataError)
    # A hidden folder is read where a person names that one, and not where one names what it lies in.
    with pytest.raises(DataError, match="leads out of the repository"):
        inside(root / ".git/config", folder, DataError)
    monkeypatch.setenv("MECH_DATA", str(root / ".git"))
    assert inside(root / ".git/config", folder, DataError)


def test_links_in_a_circle_end_in_an_error(root: Path) -> None:
    folder = root / "investigations/words"
    (folder / "a").symlink_to(folder / "b")
    (folder / "b").symlink_to(folder / "a")
    refuse_links_out(folder, root, DataError)
    with pytest.raises(StoreError, match="this is not read"):
        read_beside(folder, "a", 100, StoreError)


@pytest.mark.parametrize("target", ["../../../secret.csv", "../..", "/", "../../.git", "../../.git/config"])
def test_a_link_out_of_the_repository_is_named(root: Path, target: str) -> None:
    folder = root / "investigations"
    (folder / "words/deep").mkdir()
    refuse_links_out(folder, root, DataError)
    (folder / "words/data").symlink_to(Path(target))
    if target == "../..":
        refuse_links_out(folder, root, DataError)
        return
    with pytest.raises(DataError, match="leads out of the repository") as caught:
        refuse_links_out(folder, root, DataError)
    assert caught.value.where == "investigations/words/data"


def test_a_link_behind_a_link_is_named(root: Path) -> None:
    (root / "other/deep").mkdir(parents=True)
    (root / "other/deep/out").symlink_to(root.parent / "secret.csv")
    (root / "other/back").symlink_to(root)
    (root / "investigations/words/data").symlink_to(root / "other")
    with pytest.raises(DataError, match="leads out of the repository") as caught:
        refuse_links_out(root / "investigations", root, DataError)
    assert caught.value.where == "investigations/words/data/deep/out"


def test_a_file_that_is_a_link_out_is_named_and_one_that_is_missing_is_nothing(root: Path) -> None:
    refuse_links_out(root / "CHANGELOG.md", root, DataError)
    (root / "CHANGELOG.md").symlink_to(root.parent / "secret.csv")
    with pytest.raises(DataError, match="leads out of the repository"):
        refuse_links_out(root / "CHANGELOG.md", root, DataError)


@pytest.mark.parametrize(
    "name", ["../words/a.csv", "/etc/passwd", "", ".", "..", ".hidden", "a\\b", "a\0b", 7]
)
def test_a_name_with_a_path_in_it_is_no_bare_name(root: Path, name: object) -> None:
    with pytest.raises(StoreError, match="more than a bare name"):
        read_beside(root / "investigations/words", name, 100, StoreError)


def test_only_a_regular_file_of_a_bounded_size_is_read(root: Path) -> None:
    folder = root / "investigations/words"
    (folder / "a.csv").write_bytes(b"x" * 100)
    assert len(read_beside(folder, "a.csv", 100, StoreError)) == 100
    (folder / "link.csv").symlink_to(folder / "a.csv")
    (folder / "folder.csv").mkdir()
    for name, said in {"a.csv": "too large", "link.csv": "a link", "folder.csv": "no regular file"}.items():
        with pytest.raises(StoreError, match=said):
            read_beside(folder, name, 99, StoreError)
    with pytest.raises(FileNotFoundError):
        read_beside(folder, "missing.csv", 99, StoreError)


def test_a_home_of_nobody_is_a_name_like_any_other() -> None:
    assert with_home("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert with_home("~/x") == Path.home() / "x"


def test_a_text_names_no_folder_of_the_machine(root: Path) -> None:
    text = f"{root}/investigations/words/report.md:3: see {Path.home()}/models/x"
    assert without_root(text, root) == "investigations/words/report.md:3: see ~/models/x"
