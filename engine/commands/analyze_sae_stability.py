"""`mech analyze-sae-stability`: how alike the dictionaries are that a sweep trains from several seeds.

The sweep's trained SAEs are grouped by every setting but the seed; each group is an experiment of its own,
compared by every family that declares to build on such runs swept over the seed. Grouping changes no key, so
what the sweep trained is not trained again.
"""

from __future__ import annotations

import itertools
import json as json_text
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import existing_parent, existing_spec
from engine.commands.console import Output, TextTable, measurement_fields
from engine.commands.measure import MeasureOptions, SelectedRuns, measure_selected
from engine.commands.options import Cluster, DryRun, Jobs, Json, Models, OutputFile, Verbose
from engine.commands.point_table import PointRow, point_rows
from engine.errors import EngineError, SpecError
from engine.evidence.printing import digits
from engine.evidence.result import Measurement
from engine.runs.investigation import Investigation, find_root_or_here, load_investigation
from engine.runs.sources import project_sources
from engine.spec.models import Experiment
from engine.spec.points import FamilyCatalog
from engine.spec.sweeps import checked

SEED = "seed"
LIVE = "live_"  # how the family names what it measures on live latents alone

app = typer.Typer(add_completion=False)


@app.command()
def analyze_sae_stability(
    context: typer.Context,
    sweep: Annotated[Path, typer.Option(help="A spec file that trains SAEs over seeds.")],
    live_only: Annotated[bool, typer.Option("--live-only", help="Only latents that fire.")] = False,
    output: OutputFile = None,
    model: Models = None,
    dry_run: DryRun = False,
    jobs: Jobs = None,
    cluster: Cluster = None,
    verbose: Verbose = False,
    json: Json = False,
) -> Output:
    """Say how alike the dictionaries of a sweep over seeds are, beside what chance gives.

    Trains what is missing, compares the seeds at every other setting of the sweep, prints the table and
    writes it as Markdown, or as JSON where the output file is called so.

    \b
    Example:
      mech analyze-sae-stability --sweep sweep.yaml --live-only --output stability.md
    """
    # Told before hours of training, not after.
    if output is not None:
        existing_parent(output)
    catalog = project_sources().catalog
    comparing = with_comparisons(load_investigation(existing_spec(sweep), catalog), catalog)
    comparing = replace(comparing, typed=f"mech analyze-sae-stability --sweep {sweep}")
    comparisons = [name for name, e in comparing.spec.experiments.items() if e.uses]
    options = MeasureOptions(
        models=model,
        dry_run=dry_run,
        jobs=jobs,
        cluster=cluster,
        verbose=verbose,
        json=json,
        debug=context.obj.debug,
    )

    def describe(selected: SelectedRuns) -> Output:
        rows = point_rows(selected)
        data = [_comparison_data(row, comparing, live_only) for row in rows]
        text = _comparison_text(data)
        if output is not None:
            title = f"# Stability over seeds: {comparing.spec.title}"
            _write(output, data, title, sweep)
            text.append(f"\nwritten to {output}")
        complete = all(row.measurements for row in rows)
        return Output(text, data, exit_status=0 if complete else 1)

    return measure_selected(find_root_or_here(), comparing, comparisons, options, describe)


def with_comparisons(sweep: Investigation, catalog: FamilyCatalog) -> Investigation:
    """The sweep with an experiment of trained SAEs for each of its settings, and one that compares them."""
    experiments: dict[str, dict[str, Any]] = {}
    compared = list(_compared_over_seeds(catalog))
    for name, experiment in sweep.spec.experiments.items():
        comparing = [(family, role) for family, role, trains in compared if trains == experiment.family]
        if not comparing or len(experiment.sweep.get(SEED, [])) < 2:
            continue
        for setting, trained in _settings(name, experiment):
            experiments[setting] = trained
            on = {"models": trained["models"]} if trained.get("models") else {}
            for family, role in comparing:
                experiments[f"{family}_{setting}"] = {"family": family, "uses": {role: setting}} | on
    if not experiments:
        raise SpecError(
            "nothing here trains SAEs that differ in their seed",
            where=str(sweep.spec_path),
            expected=f"an experiment of family {_either(compared)} with sweep: {{{SEED}: [0, 1, 2]}}",
            seen=", ".join(sorted({e.family for e in sweep.spec.experiments.values()})),
            hint=f"mech sweep --base FILE --axis parameters.{SEED}=0,1,2 --output FILE writes such a sweep",
        )
    # Without claims, headline and key numbers: they name experiments as they were before they were grouped.
    plain = {"title": sweep.spec.title, "question": sweep.spec.question, "models": list(sweep.spec.models)}
    return replace(sweep, spec=checked({**plain, "experiments": experiments}, catalog))


def _compared_over_seeds(catalog: FamilyCatalog) -> Iterator[tuple[str, str, str]]:
    """The families that compare runs over seeds: each with the role and the family of what it compares."""
    for family in catalog.names():
        inputs = catalog.inputs(family)
        for role, uses in (inputs.uses if inputs else {}).items():
            if uses.over == SEED:
                yield family, role, uses.family


def _either(compared: list[tuple[str, str, str]]) -> str:
    return " or ".join(dict.fromkeys(trains for _, _, trains in compared))


def _settings(name: str, experiment: Experiment) -> Iterator[tuple[str, dict[str, Any]]]:
    """The experiment at every combination of what it sweeps besides the seed, which it goes on sweeping."""
    plain = experiment.model_dump(mode="json", exclude_defaults=True, exclude={"sweep", "name", "uses"})
    others = {key: values for key, values in experiment.sweep.items() if key != SEED}
    for values in itertools.product(*others.values()):
        at = dict(zip(others, values, strict=True))
        words = [name, *(f"{key}_{value}" for key, value in at.items())]
        # A setting as a parameter of its own gives each point the key that the whole sweep gave it.
        parameters = {**plain.get("parameters", {}), **at}
        swept = {"parameters": parameters, "sweep": {SEED: experiment.sweep[SEED]}}
        # What a value is spelled with need not do for an experiment's name.
        yield re.sub(r"[^A-Za-z0-9_-]+", "_", "_".join(words)), plain | swept


def _comparison_data(row: PointRow, comparing: Investigation, live_only: bool) -> dict[str, Any]:
    """A comparison as plain data: each finding with the number that chance gives beside it."""
    experiments = comparing.spec.experiments
    # `with_comparisons` gives each comparison one role.
    (used,) = experiments[row.name.experiment].uses.values()
    trained = experiments[used]
    found = row.measurements
    findings = {name: m for name, m in found.items() if m.role == "finding" and _is_shown(m, live_only)}
    if row.run_id is not None and found and not findings:
        raise EngineError("the comparison has no number of live latents alone", where="--live-only")
    numbers = []
    for m in findings.values():
        chance = measurement_fields(found[m.control]) if m.control in found else None
        numbers.append(measurement_fields(m) | {"chance": chance})
    return {
        "model": row.name.model,
        "hook_site": trained.hook_site,
        "corpus": trained.corpus.model_dump(mode="json") if trained.corpus else None,
        "parameters": trained.parameters,
        "seeds": trained.sweep[SEED],
        "run_id": row.run_id,
        "reason": row.reason,
        "numbers": numbers,
    }


def _is_shown(m: Measurement, live_only: bool) -> bool:
    """With --live-only, counts and what was measured on live latents; else everything."""
    return not live_only or m.exact or m.name.startswith((LIVE, "frac_alive"))


def _comparison_text(comparisons: Sequence[dict[str, Any]]) -> list[str | TextTable]:
    text: list[str | TextTable] = []
    for comparison in comparisons:
        text.append(f"\n{_heading(comparison)}: {_state(comparison)}")
        if comparison["numbers"]:
            text.append(TextTable(["number", "value", "95 % interval", "n", "by chance"], _rows(comparison)))
    return text


def _heading(comparison: dict[str, Any]) -> str:
    """The setting of a comparison in a line."""
    given = [f"{key} = {value}" for key, value in comparison["parameters"].items()]
    corpus = comparison["corpus"] or {}
    tokens = [f"{corpus['tokens']:,} tokens of {corpus['name']}"] if corpus.get("tokens") else []
    return ", ".join([comparison["model"], *filter(None, [comparison["hook_site"]]), *given, *tokens])


def _state(comparison: dict[str, Any]) -> str:
    if comparison["run_id"] is None:
        return f"not measured: {comparison['reason']}"
    reason = f": {comparison['reason']}" if comparison["reason"] else ""
    return f"run {comparison['run_id']}, {len(comparison['seeds'])} seeds{reason}"


def _rows(comparison: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Number, value, interval, n and what chance gives, as text."""
    rows = []
    for m in comparison["numbers"]:
        value, interval = _value_and_interval(m)
        by_chance = " ".join(_value_and_interval(m["chance"]))
        rows.append((m["name"], value, interval, f"{m['n']} {m['unit']}s", by_chance))
    return rows


def _value_and_interval(m: dict[str, Any] | None) -> tuple[str, str]:
    if m is None:
        return "", ""
    value = m["value"]
    low = m["low"]
    high = m["high"]
    if low is None or high is None:
        return digits(value, low, high), ""
    return digits(value, low, high), f"({digits(low, low, high)} to {digits(high, low, high)})"


def _write(output: Path, comparisons: Sequence[dict[str, Any]], title: str, sweep: Path) -> None:
    """The comparisons as JSON where the file is called so, else as Markdown."""
    if output.suffix == ".json":
        text = json_text.dumps(comparisons, indent=1, ensure_ascii=False, default=str) + "\n"
    else:
        text = _markdown(comparisons, title, sweep)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EngineError(f"it cannot be written: {error.strerror}", where=str(output)) from None


def _markdown(comparisons: Sequence[dict[str, Any]], title: str, sweep: Path) -> str:
    measured = f"Measured by `mech analyze-sae-stability --sweep {sweep}`. Intervals are over seeds."
    lines = [title, "", measured, ""]
    for comparison in comparisons:
        lines += [f"## {_heading(comparison)}", "", f"{_state(comparison)}.", ""]
        if comparison["numbers"]:
            lines += [
                "| number | value | 95 % interval | n | by chance |",
                "| --- | ---: | --- | ---: | --- |",
            ]
            lines += ["| " + " | ".join(row) + " |" for row in _rows(comparison)] + [""]
    return "\n".join(lines)
