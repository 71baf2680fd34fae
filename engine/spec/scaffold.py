"""`engine new`: a first spec and report, or a first family and its test, that work as they stand."""

from __future__ import annotations

import datetime
import json
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from engine.errors import SpecError

SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
FAMILY_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST_NAME = 60


def new_investigation(folder: Path, slug: str, title: str) -> list[Path]:
    """Write spec.yaml, report.md and an example of a prompt file into `folder` and return their paths.

    SpecError for a slug that cannot be a folder and an address, and where one of the files is there already.
    """
    if not SLUG.fullmatch(slug) or len(slug) > LONGEST_NAME:
        raise _misnamed(
            "the slug of an investigation", slug, re.sub(r"[^a-z0-9]+", "-", slug.lower()).strip("-")
        )
    values = {"slug": slug, "title": json.dumps(title, ensure_ascii=False), "today": _today()}
    return _write(
        {folder / name: _filled(name, values) for name in ("spec.yaml", "report.md", "prompts.csv")}
    )


def new_family(name: str, engine_folder: Path, tests_folder: Path) -> list[Path]:
    """Write families/NAME.py and its mirrored test and return their paths.

    SpecError for a name that Python cannot import, and where either file is there already.
    """
    if not FAMILY_NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > LONGEST_NAME:
        raise _misnamed("the name of a family", name, re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))
    return _write(
        {
            engine_folder / "families" / f"{name}.py": _filled("family.py.txt", {"name": name}),
            tests_folder / "families" / f"test_{name}.py": _filled("test_family.py.txt", {"name": name}),
        }
    )


def _today() -> str:
    return datetime.date.today().isoformat()


def _misnamed(what: str, name: str, near: str) -> SpecError:
    return SpecError(
        f"{name!r} cannot be {what}",
        expected=f"lower-case letters and digits, words joined by {'-' if 'slug' in what else '_'}, "
        f"a letter first, at most {LONGEST_NAME} characters",
        seen=repr(name),
        near=[near] if near and near != name and near[0].isalpha() else (),
    )


def _filled(skeleton: str, values: Mapping[str, str]) -> str:
    text = (files("engine.spec") / "skeletons" / skeleton).read_text(encoding="utf-8")
    return re.sub(r"@([a-z]+)@", lambda found: values[found[1]], text)


def _write(texts: Mapping[Path, str]) -> list[Path]:
    """Every file, or none where one exists."""
    for path in texts:
        if path.exists():
            raise SpecError(
                "it is there already", where=str(path), hint="choose another name, or remove it first"
            )
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as out:
                out.write(text)
    except OSError as error:
        raise SpecError(f"it cannot be written: {error.strerror}", where=str(error.filename)) from None
    return list(texts)
