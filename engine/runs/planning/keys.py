"""A run's key: one hash over everything that its numbers depend on, kept in parts that can say what changed.

The versions of torch and transformers are recorded with a run but are no part of its key: they move
numbers by rounding at most, the checks of each run guard against more, and a key that is the same on
every machine is what lets a reader's run be compared with a published one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from engine.runs.planning.code_hash import digest


def canonical(value: Any) -> str:
    """JSON in the one form that is hashed: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@dataclass(frozen=True)
class RunInputs:
    """What a run depends on: hashes, and in plain words where a person is to see what changed.

    `experiment` is the normalised experiment with its hook site resolved and without `uses`; `uses` holds
    the keys of the runs it builds on, by role and label ("saes: layer0[seed=3]"); `second` the bytes of the
    model that it is compared with, by name, where there is one; `coders` those of the dictionaries that it is
    given, by path.
    """

    experiment: dict[str, Any]
    code: dict[str, str]
    model: str | None  # None until the model's bytes have been seen
    data: dict[str, str]
    uses: dict[str, str | None]
    second: dict[str, str | None] = field(default_factory=dict)
    coders: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """Everything by kind; a second model and dictionaries only where there are any."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        # Runs that were stored before there were such inputs keep their keys.
        return {kind: part for kind, part in parts.items() if kind not in ("second", "coders") or part}

    @cached_property
    def key(self) -> str | None:
        """The run's key; None while the bytes of a model are unknown."""
        if self.model is None or None in (*self.uses.values(), *self.second.values()):
            return None
        return digest(canonical(self.parts))

    @property
    def spec_hash(self) -> str:
        """The hash of the experiment alone, as provenance shows it."""
        return digest(canonical(self.experiment))

    @cached_property
    def short(self) -> dict[str, str]:
        """The first 12 digits of each part's own hash, to be committed beside the numbers."""
        return {name: digest(canonical(part))[:12] for name, part in self.parts.items()}


def inputs_from(parts: Mapping[str, Any]) -> RunInputs:
    """A run's inputs as they were stored."""
    return RunInputs(**parts)


def explain(before: RunInputs, now: RunInputs) -> tuple[str, ...]:
    """Each input that changed, in words; empty where nothing did."""
    lines = [*experiment_changes(before.experiment, now.experiment), *_code_changes(before.code, now.code)]
    if now.model is not None and before.model != now.model:
        lines.append("model bytes changed")
    # Of models that both have: another second model is a changed parameter, which is told already.
    for name in before.second.keys() & now.second.keys():
        if now.second[name] is not None and before.second[name] != now.second[name]:
            lines.append(f"model bytes of {name} changed")
    for path in before.coders.keys() & now.coders.keys():
        if now.coders[path] and before.coders[path] != now.coders[path]:
            lines.append(f"dictionary {path} changed")
    lines += _data_changes(before, now)
    lines += _uses_changes(before.uses, now.uses)
    return tuple(lines)


def experiment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`parameter k: 8 -> 16`, `hook_site: ...`, for everything the experiment says differently."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    # `...` as the default, since None is a value that an experiment may have.
    paths = [p for p in sorted(old.keys() | new.keys()) if old.get(p, ...) != new.get(p, ...)]
    return [f"{_spoken(p)}: {_shown(old, p)} -> {_shown(new, p)}" for p in paths]


def asked_otherwise(
    published: Mapping[str, Any], now: Mapping[str, Any], written: Collection[str]
) -> list[str]:
    """What a published experiment asked differently; empty where its numbers answer the present one.

    A parameter that the family has gained since and that the spec does not set (`written`) is no
    difference; nor is a relative hook site on a model whose depth is not known here.
    """
    asked = published["parameters"]
    given = now["parameters"]
    # A new parameter at its default asks for what was always done.
    same = {name: value for name, value in given.items() if name in asked or name in written}
    present = {**now, "parameters": same}
    if "%" in (now.get("hook_site") or ""):
        present["hook_site"] = published.get("hook_site")
    # An input that experiments could not name then, and that this one leaves empty.
    gained = {name for name, value in now.items() if name not in published and not value}
    return experiment_changes(published, {k: v for k, v in present.items() if k not in gained})


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    # An empty mapping is a leaf: `{}` and a missing one differ.
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _spoken(path: str) -> str:
    return f"parameter {path.removeprefix('parameters.')}" if path.startswith("parameters.") else path


def _shown(leaves: Mapping[str, Any], path: str) -> str:
    return json.dumps(leaves[path]).strip('"') if path in leaves else "nothing"


def _code_changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            how = "is new" if name not in before else "is no longer used" if name not in now else "changed"
            yield f"code: {name} {how}"


def _data_changes(before: RunInputs, now: RunInputs) -> Iterator[str]:
    """Changed bytes behind an unchanged choice; another choice is already told as a changed experiment."""
    for kind in before.data.keys() & now.data.keys():
        chosen = _data_choice(now.experiment, kind)
        if before.data[kind] != now.data[kind] and _data_choice(before.experiment, kind) == chosen:
            yield f"{kind} {chosen['name']} changed"


def _data_choice(experiment: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """What an experiment reads as `prompts`, as `corpus`, or as prompts that one of its parameters names."""
    if kind in ("prompts", "corpus"):
        return experiment.get(kind) or {}
    return {"name": experiment["parameters"].get(kind)}


def _uses_changes(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> Iterator[str]:
    for used in sorted(before.keys() | now.keys()):
        label = used.partition(": ")[2]
        if used not in now:
            yield f"uses {label} no longer"
        elif used not in before:
            yield f"uses {label}, which is new here"
        elif now[used] is not None and before[used] != now[used]:
            yield f"uses {label}, which is stale"
