"""What counts as a change of code, and which files a run's code is."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.runs.planning.code_hash import CodeBook, read_code

SOURCE = '''"""A module."""
LIMIT = 3


class Params:
    """What may be set."""

    k: int = 8
    """How many."""


def run(x, y=1):
    # why
    return (x + y)


def calibrate():
    return 1
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why\n", "# another reason\n"),
        ("A module.", "Another docstring."),
        ("What may be set.", "Else."),
        ('    """How many."""\n', ""),
        ("return (x + y)", "return x + y  # plain"),
        ("\n\n\ndef run", "\n\n\n\n\ndef run"),
        ("def calibrate():\n    return 1", "def calibrate():\n    return 2"),
    ],
)
def test_words_and_layout_do_not_count(old: str, new: str) -> None:
    assert old in SOURCE
    assert read_code(SOURCE.replace(old, new)) == read_code(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("y=1", "y=2"),
        ("x + y", "x - y"),
        ("k: int = 8", "k: float = 8"),
        ("def run", "@f\ndef run"),
    ],
)
def test_what_runs_counts(old: str, new: str) -> None:
    assert read_code(SOURCE.replace(old, new)).hash != read_code(SOURCE).hash


def test_a_body_of_words_alone_is_an_empty_body() -> None:
    assert read_code('def f():\n    """Says."""\n') == read_code("def f():\n    pass\n")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "families/fam.py": "from engine.lab.tools import f\nfrom engine.errors import E\n"
        "if TYPE_CHECKING:\n    from engine.models.hooked import HookedModel\n",
        "lab/__init__.py": "",
        "lab/tools.py": "def f():\n    from engine.evidence import boot\n    return boot\n",
        "evidence/boot.py": "import numpy\nimport engine.lab.tools\nX = 1\n",
        "models/hooked.py": "from engine.models.cards import Shape\nY = 2\n",
        "models/cards.py": "KNOWN = 1\n",
        "errors.py": "class E(Exception):\n    pass\n",
        "lab/unused.py": "Z = 3\n",
    }
    for name, text in files.items():
        path = tmp_path / "engine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "engine"


def test_imports_are_followed_wherever_they_stand_but_only_into_rooms_that_make_numbers(
    package: Path,
) -> None:
    code = CodeBook(package).code_of(package / "families" / "fam.py")
    expected = ["evidence/boot.py", "families/fam.py", "lab/tools.py", "models/hooked.py"]
    assert list(code) == [f"engine/{name}" for name in expected]


def test_the_remembered_hashes_are_those_of_reading_again(package: Path, tmp_path: Path) -> None:
    cache, family = tmp_path / "code.json", package / "families" / "fam.py"
    first = CodeBook(package, cache)
    code = first.code_of(family)
    first.save()
    second = CodeBook(package, cache)
    assert second.code_of(family) == code
    assert not second.grown
    (package / "evidence" / "boot.py").write_text("X = 2\n")
    changed = CodeBook(package, cache).code_of(family)
    assert {name for name in code if code[name] != changed[name]} == {"engine/evidence/boot.py"}


@pytest.mark.parametrize("garbage", ["", "[1]", '{"a": 3}', "{"])
def test_a_broken_cache_is_read_as_none(package: Path, tmp_path: Path, garbage: str) -> None:
    (tmp_path / "code.json").write_text(garbage)
    assert len(CodeBook(package, tmp_path / "code.json").code_of(package / "families" / "fam.py")) == 4


def test_a_syntax_error_names_its_line(package: Path) -> None:
    broken = package / "families" / "fam.py"
    broken.write_text("x = 1\ny = (\n")
    with pytest.raises(EngineError, match=r"fam\.py:2: this is not Python"):
        CodeBook(package).code_of(broken)
