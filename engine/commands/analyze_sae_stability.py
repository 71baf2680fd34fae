"""`mech analyze-sae-stability`: how alike the dictionaries are that a sweep trains from several seeds.

The sweep's trained SAEs are grouped by every setting but the seed; each group is an experiment of its own,
compared by one of family `sae_stability`. Grouping changes no key, so what the sweep trained is not trained
again.
"""

from __future__ import annotations

import itertools
import json as json_text
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands.console import emit_json, say, table, told_number
from engine.commands.measure import Asked, Hands, carried_out, existing
from engine.commands.sweep import PointRow, point_rows
from engine.errors import EngineError, SpecError
from engine.runs.investigation import Investigation, find_root_or_here, load_investigation
from engine.runs.sources import project_sources
from engine.spec.models import Experiment
from engine.spec.points import FamilyCatalog
from engine.spec.sweeps import checked

if TYPE_CHECKING:
    from engine.evidence.result import Measurement

TRAINS, COMPARES, ROLE, SEED = "polysemanticity_sae", "sae_stability", "saes", "seed"
LIVE = "live_"  # how the family names what it measures on live latents alone


def analyze(
    path: Path,
    *,
    live_only: bool,
    output: Path | None,
    models: Sequence[str] | None,
    dry_run: bool,
    hands: Hands,
    json: bool,
) -> bool:
    """Train and compare what is missing, print and write the table; whether every comparison is there.

    Raises SpecError where the file trains no SAE over two seeds or more.
    """
    sources = project_sources()
    if output is not None and not output.parent.is_dir():
        raise EngineError("there is no such folder", where=str(output.parent), expected="one that exists")
    asked = compared(load_investigation(existing(path), sources.catalog), sources.catalog)
    asked = replace(asked, typed=f"mech analyze-sae-stability --sweep {path}")
    comparisons = [name for name, e in asked.spec.experiments.items() if e.family == COMPARES]
    given = Asked(models, dry_run, hands, json)
    with carried_out(find_root_or_here(), asked, comparisons, given) as done:
        if done is None:
            return True
        rows = point_rows(done)
    told = [_told(row, asked, live_only) for row in rows]
    if json:
        emit_json(told)
    else:
        _print(told)
    if output is not None:
        _write(output, told, asked, path)
        if not json:
            say(f"\nwritten to {output}")
    return all(row.measurements for row in rows)


def compared(sweep: Investigation, catalog: FamilyCatalog) -> Investigation:
    """The sweep with an experiment of trained SAEs for each of its settings, and one that compares them."""
    experiments: dict[str, dict[str, Any]] = {}
    for name, experiment in sweep.spec.experiments.items():
        if experiment.family == TRAINS and len(experiment.sweep.get(SEED, [])) > 1:
            for setting, trained in _settings(name, experiment):
                experiments[setting] = trained
                comparison = {"family": COMPARES, "uses": {ROLE: setting}}
                on = {"models": trained["models"]} if trained.get("models") else {}
                experiments[f"stability_{setting}"] = comparison | on
    if not experiments:
        raise SpecError(
            "nothing here trains SAEs that differ in their seed",
            where=str(sweep.spec_path),
            expected=f"an experiment of family {TRAINS} with sweep: {{{SEED}: [0, 1, 2]}}",
            seen=", ".join(sorted({e.family for e in sweep.spec.experiments.values()})),
            hint=f"mech sweep --base FILE --axis parameters.{SEED}=0,1,2 --output FILE writes such a sweep",
        )
    plain = {"title": sweep.spec.title, "question": sweep.spec.question, "models": list(sweep.spec.models)}
    return replace(sweep, spec=checked({**plain, "experiments": experiments}, catalog))


def _settings(name: str, experiment: Experiment) -> Iterator[tuple[str, dict[str, Any]]]:
    """The experiment at every combination of what it sweeps besides the seed, which it goes on sweeping."""
    plain = experiment.model_dump(mode="json", exclude_defaults=True, exclude={"sweep", "name", "uses"})
    others = {key: values for key, values in experiment.sweep.items() if key != SEED}
    for values in itertools.product(*others.values()):
        at = dict(zip(others, values, strict=True))
        words = [name, *(f"{key}_{value}" for key, value in at.items())]
        parameters = {**plain.get("parameters", {}), **at}
        swept = {"parameters": parameters, "sweep": {SEED: experiment.sweep[SEED]}}
        yield re.sub(r"[^A-Za-z0-9_-]+", "_", "_".join(words)), plain | swept


def _told(row: PointRow, asked: Investigation, live_only: bool) -> dict[str, Any]:
    """A comparison as plain data: each finding with the number that chance gives beside it."""
    trained = asked.spec.experiments[asked.spec.experiments[row.name.experiment].uses[ROLE]]
    found = row.measurements
    findings = {name: m for name, m in found.items() if m.role == "finding" and _is_shown(m, live_only)}
    if row.run_id is not None and found and not findings:
        raise EngineError("the comparison has no number of live latents alone", where="--live-only")
    return {
        "model": row.name.model,
        "hook_site": trained.hook_site,
        "corpus": trained.corpus.model_dump(mode="json") if trained.corpus else None,
        "parameters": trained.parameters,
        "seeds": trained.sweep[SEED],
        "run_id": row.run_id,
        "reason": row.reason,
        "numbers": [
            told_number(m) | {"chance": told_number(found[m.control]) if m.control in found else None}
            for m in findings.values()
        ],
    }


def _is_shown(m: Measurement, live_only: bool) -> bool:
    """With --live-only, counts and what was measured on live latents; else everything."""
    return not live_only or m.exact or m.name.startswith((LIVE, "frac_alive"))


def _heading(told: dict[str, Any]) -> str:
    """The setting of a comparison in a line."""
    given = [f"{key} = {value}" for key, value in told["parameters"].items()]
    corpus = told["corpus"] or {}
    tokens = [f"{corpus['tokens']:,} tokens of {corpus['name']}"] if corpus.get("tokens") else []
    return ", ".join([told["model"], *filter(None, [told["hook_site"]]), *given, *tokens])


def _rows(told: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Number, value, interval, n and what chance gives, as text."""
    return [
        (
            m["name"],
            *_value_and_interval(m),
            f"{m['n']} {m['unit']}s",
            " ".join(_value_and_interval(m["chance"])),
        )
        for m in told["numbers"]
    ]


def _value_and_interval(m: dict[str, Any] | None) -> tuple[str, str]:
    from engine.evidence.printing import digits

    if m is None:
        return "", ""
    value, low, high = m["value"], m["low"], m["high"]
    if low is None or high is None:
        return digits(value, low, high), ""
    return digits(value, low, high), f"({digits(low, low, high)} to {digits(high, low, high)})"


def _print(told: Sequence[dict[str, Any]]) -> None:
    for one in told:
        say(f"\n{_heading(one)}: {_state(one)}")
        if one["numbers"]:
            table(["number", "value", "95 % interval", "n", "by chance"], _rows(one))


def _state(told: dict[str, Any]) -> str:
    if told["run_id"] is None:
        return f"not measured: {told['reason']}"
    return f"run {told['run_id']}, {len(told['seeds'])} seeds" + (
        f": {told['reason']}" if told["reason"] else ""
    )


def _write(output: Path, told: Sequence[dict[str, Any]], asked: Investigation, sweep: Path) -> None:
    """The report as JSON where the file is called so, else as Markdown."""
    if output.suffix == ".json":
        text = json_text.dumps(told, indent=1, ensure_ascii=False, default=str) + "\n"
    else:
        text = _markdown(told, asked, sweep)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EngineError(f"it cannot be written: {error.strerror}", where=str(output)) from None


def _markdown(told: Sequence[dict[str, Any]], asked: Investigation, sweep: Path) -> str:
    lines = [f"# Stability over seeds: {asked.spec.title}", ""]
    lines += [f"Measured by `mech analyze-sae-stability --sweep {sweep}`. Intervals are over seeds.", ""]
    for one in told:
        lines += [f"## {_heading(one)}", "", f"{_state(one)}.", ""]
        if one["numbers"]:
            lines += [
                "| number | value | 95 % interval | n | by chance |",
                "| --- | ---: | --- | ---: | --- |",
            ]
            lines += ["| " + " | ".join(row) + " |" for row in _rows(one)] + [""]
    return "\n".join(lines)
