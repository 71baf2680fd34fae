import shutil
from pathlib import Path

import pytest

from engine.errors import SiteError
from engine.publish.files import generated, write_files


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.md": "one", "deep/b.csv": b"x,y\n"})
    before = (tmp_path / "a.md").stat().st_mtime_ns
    assert write_files(tmp_path, {"a.md": "one", "deep/b.csv": b"x,z\n"}) == ["deep/b.csv"]
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert (tmp_path / "deep/b.csv").read_bytes() == b"x,z\n"


def test_obsolete_files_go_and_hand_written_ones_stay(tmp_path: Path) -> None:
    write_files(tmp_path, {"reports/gone/index.md": "", "reports/kept/index.md": ""})
    (tmp_path / "reports/kept/note.md").write_text("by hand")
    assert write_files(tmp_path, {}) == ["reports/gone/index.md", "reports/kept/index.md"]
    assert not (tmp_path / "reports/gone").exists()
    assert (tmp_path / "reports/kept/note.md").read_text() == "by hand"


def test_a_killed_write_leaves_nothing_unaccounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path, {"a.md": "old"})
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == "b.md":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        write_files(tmp_path, {"a.md": "new", "b.md": "half"})
    assert generated(tmp_path) == {"a.md", "b.md"}
    assert not (tmp_path / "b.md").exists()
    write_files(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == [".generated"]


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("a file where the folder should be")
    with pytest.raises(SiteError, match="cannot be written"):
        write_files(tmp_path / "site", {"a.md": ""})


def test_a_folder_that_someone_removed_by_hand_is_no_obstacle(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/b/c.md": "text", "d.md": "text"})
    shutil.rmtree(tmp_path / "a")
    assert write_files(tmp_path, {"d.md": "text"}) == ["a/b/c.md"]


@pytest.mark.parametrize("name", ["../owned.md", "charts/curve-../../../../owned.json", "/owned.md"])
def test_no_generated_file_leaves_the_site(tmp_path: Path, name: str) -> None:
    with pytest.raises(SiteError, match="outside of the site"):
        write_files(tmp_path / "a/site", {name: "owned"})
    assert not list(tmp_path.rglob("owned*"))
