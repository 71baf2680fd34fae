"""A panel's state as the query of an address, and back: `?panel=lens&prompt=...`.

The address holds the whole state and the server none, so that a link shows its own state and nobody else's.
Fields that equal the default are left out; a field that is a list stands once for each entry.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError

from engine.demo.panel import Panel, PanelState
from engine.errors import DemoError, nearest

PANEL = "panel"
OTHERS = ("__theme", "view")  # of the app and of a page that embeds it; no part of a state
MOST_CHARACTERS = 16_000
EMPTY = "\x00"
"""Written for a list without entries, which would otherwise look as if it were left out."""


def to_query(panel: Panel[Any, Any], state: PanelState) -> str:
    """The address of a state, from its question mark on."""
    pairs = [(PANEL, panel.name)]
    default = panel.state()
    for name in type(state).model_fields:
        value = getattr(state, name)
        if value == getattr(default, name):
            continue
        if isinstance(value, list | tuple):
            pairs += [(name, _text(each)) for each in value] or [(name, EMPTY)]
        else:
            pairs.append((name, _text(value)))
    return "?" + urlencode(pairs)


def chosen_panel(query: str, panels: Sequence[Panel[Any, Any]]) -> Panel[Any, Any]:
    """The panel that an address names, the first where it names none; DemoError for another name."""
    names = {panel.name: panel for panel in panels}
    name = dict(_pairs(query)).get(PANEL, panels[0].name)
    if name not in names:
        raise DemoError(
            f"this address names no panel {_short(name)!r}",
            expected=", ".join(names),
            near=nearest(name, names),
        )
    return names[name]


def from_query(query: str, panel: Panel[Any, Any]) -> PanelState:
    """The state that an address says; DemoError, naming the field, for what is no state of this panel."""
    fields = panel.state.model_fields
    given: dict[str, Any] = {}
    for name, value in _pairs(query):
        if name == PANEL or name in OTHERS:
            continue
        if name not in fields:
            raise DemoError(
                f"this address has a field {_short(name)!r}, which the panel {panel.name} has not",
                expected=", ".join(fields),
                near=nearest(name, fields),
            )
        if _is_list(fields[name].annotation):
            given.setdefault(name, []).extend([] if value == EMPTY else [value])
        else:
            given[name] = value
    return checked_state(panel, given, "this address")


def checked_state(panel: Panel[Any, Any], given: Mapping[str, Any], whose: str = "") -> PanelState:
    """A state of the panel from values of its fields; DemoError with the first field that cannot be."""
    try:
        return panel.state.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"])) or "the state"
        said = first["msg"].removeprefix("Value error, ")
        problem = f"{name.replace('_', ' ')}: {said[:1].lower()}{said[1:]}"
        where = f"in {whose}" if whose else ""
        raise DemoError(problem, where=where, seen=_short(repr(first["input"]))) from None


def _pairs(query: str) -> list[tuple[str, str]]:
    if len(query) > MOST_CHARACTERS:
        raise DemoError(
            "this address is too long",
            expected=f"at most {MOST_CHARACTERS:,} characters",
            seen=f"{len(query):,}",
        )
    try:
        # `strict_parsing` would refuse `?lens` too; what cannot be decoded is seen as a replacement mark.
        return parse_qsl(query.removeprefix("?"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise DemoError("this address cannot be read", seen=str(error)) from None


def _is_list(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(map(_is_list, typing.get_args(annotation)))
    return origin in (list, tuple)


def _text(value: Any) -> str:
    # `true`, as people write it; `repr` of a float gives back the same float.
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
