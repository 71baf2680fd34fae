"""What each panel of the demo answered once, kept with the text, so that a page shows it without a model.

`site/demo/stills.json` is written by `mech demo --stills`: charts as declared figures with their rows, and
sentences into which the same answer put its numbers. Nothing in it is typed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field, ValidationError

from engine.errors import SiteError
from engine.evidence.result import Figure
from engine.spec.models import Strict

FILE = "demo/stills.json"
"""Where it lies under site/."""
COMMAND = "mech demo --stills"

Column = list[str | bool | int | float | None]


class StillChart(Strict):
    """A declared figure, its rows by column, and what one sees on it."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    kind: str
    parts: dict[str, str]
    title: str
    caption: str = ""
    options: dict[str, Any] = {}
    rows: dict[str, Column]
    says: list[str] = []

    @property
    def figure(self) -> Figure:
        return Figure(self.kind, self.name, self.parts, self.title, self.caption, self.options)

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


class StillTable(Strict):
    """A table that a panel shows, and what one sees on it."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    rows: dict[str, Column]
    says: list[str] = []

    @property
    def table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


class StillPanel(Strict):
    """One panel's answer: what was asked, by its address and as an experiment; what was found.

    `code` is a hash of the panel's code and `state` the fields that it had, by which a change is noticed.
    """

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    about: str
    query: str
    state: dict[str, Any]
    experiment: str = ""
    says: list[str]
    charts: list[StillChart] = []
    tables: list[StillTable] = []
    code: str


class Stills(Strict):
    """The answers of all panels, and what they were made with."""

    model: str
    model_hash: str
    quantisation: str = ""
    dtype: str
    device: str
    versions: dict[str, str]
    date: str
    command: str
    panels: list[StillPanel]


def read_stills(site: Path) -> Stills | None:
    """The stills under site/; None where there are none. SiteError for a file of another form."""
    path = site / FILE
    try:
        return Stills.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SiteError("the demo's stills cannot be read", where=str(path), seen=str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise SiteError(
            "the demo's stills are not as a panel answers",
            where=f"{path}: {place}" if place else str(path),
            expected=first["msg"],
            seen=repr(first["input"])[:80],
            hint=COMMAND,
        ) from None


def write_stills(site: Path, stills: Stills) -> Path:
    """Write the stills under site/, each column of a table on a line; returns the path."""
    path = site / FILE
    text = _written(stills.model_dump(mode="json", exclude_defaults=True))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise SiteError("the demo's stills cannot be written", where=str(path), seen=str(error)) from error
    return path


def _written(value: Any, indent: str = "") -> str:
    """JSON in which what holds no object stands on one line, so that a diff can be read."""
    inner = f"{indent} "
    if isinstance(value, dict) and value:
        parts = [f"{json.dumps(name)}: {_written(part, inner)}" for name, part in value.items()]
        return "{\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        return "[\n" + ",\n".join(inner + _written(part, inner) for part in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
