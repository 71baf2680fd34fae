"""The reference is made once for the code that it describes."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.publish import reference_cache
from engine.publish.reference_cache import kept_reference


@pytest.fixture
def family(tmp_path: Path) -> Path:
    file = tmp_path / "count_words.py"
    file.write_text('"""Count words."""\n')
    return file


def made_of(folder: Path, family: Path) -> list[str]:
    """What was made for two builds after each other; both get it."""
    made: list[str] = []

    def make() -> dict[str, str]:
        made.append(family.read_text())
        return {"reference/commands.md": "# Commands\n", "families/index.md": family.read_text()}

    for _ in range(2):
        found = kept_reference(folder, [family], make)
        assert found == {"reference/commands.md": "# Commands\n", "families/index.md": family.read_text()}
        assert list(found) == ["reference/commands.md", "families/index.md"]
    return made


def test_it_is_made_once(tmp_path: Path, family: Path) -> None:
    assert made_of(tmp_path / ".engine", family) == ['"""Count words."""\n']
    assert made_of(tmp_path / ".engine", family) == []


def test_it_is_made_anew_where_a_family_changed(tmp_path: Path, family: Path) -> None:
    made_of(tmp_path / ".engine", family)
    family.write_text('"""Count letters."""\n')
    assert made_of(tmp_path / ".engine", family) == ['"""Count letters."""\n']


@pytest.mark.parametrize(
    ("name", "value"), [("engine_hash", lambda: "another"), ("version", lambda library: "9")]
)
def test_it_is_made_anew_where_the_engine_or_a_library_changed(
    tmp_path: Path, family: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    made_of(tmp_path / ".engine", family)
    monkeypatch.setattr(reference_cache, name, value)
    assert len(made_of(tmp_path / ".engine", family)) == 1


def test_a_damaged_one_is_made_anew(tmp_path: Path, family: Path) -> None:
    made_of(tmp_path / ".engine", family)
    for path in (tmp_path / ".engine/reference").iterdir():
        path.write_bytes(path.read_bytes()[:-2])
    assert len(made_of(tmp_path / ".engine", family)) == 1
