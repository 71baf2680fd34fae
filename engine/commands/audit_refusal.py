"""`mech audit-refusal`: is refusal separable in a model, is it controllable, by what, and at what cost?

An experiment of the family `refusal_direction` with claims of its own: what the page answers are verdicts on
these, judged as those of any investigation are. The run is kept like any other, so that the same question
asked twice is measured once.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.arguments import existing_parent, require
from engine.commands.console import Output, TextTable, human_bytes, human_seconds, measurement_fields, say
from engine.commands.measure import MeasureOptions, execute_plan
from engine.commands.options import DryRun, Force, Json
from engine.errors import DataError, EngineError, ModelUnavailable
from engine.report.refusal_audit_page import AuditAnswer, answers, audit_opening
from engine.report.run_page import run_page
from engine.runs.assemble import assemble
from engine.runs.investigation import Investigation, canonical_models, find_root_or_here, investigation_of
from engine.runs.ledger import Entry, Ledger
from engine.runs.planning.cost import CostEstimate
from engine.runs.planning.plan import Plan, PlannedRun, make_plan
from engine.runs.refusal_audit import (
    EXPERIMENT,
    HARMFUL,
    HARMLESS,
    PACKAGED,
    audit_flops,
    audit_prompts,
    audit_spec,
    requests_held_out,
    requests_needed,
)
from engine.runs.sources import ModelFacts, Sources, project_sources
from engine.runs.store.store import open_store
from engine.spec.inputs import CHAT
from engine.spec.models import PromptChoice

SLUG = "audit-refusal"
LEAST = 20
"""Harmful requests to measure on: of fewer, no interval of a rate is narrow enough to tell half from all."""
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16")
GUESSED_PARAMETERS = 1_000_000_000  # of a model of which nothing is known before it is fetched
GUESSED_LAYERS = 24
ESTIMATE_SPREAD = 2.0
"""Answers end sooner or later, and a step of generation fills a product more or less well."""

app = typer.Typer(add_completion=False)


@app.command()
def audit_refusal(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A chat model: a known name, a hub id or a path.")],
    n: Annotated[
        int, typer.Option("--n", min=LEAST, help="Harmful requests to measure on, and as many harmless ones.")
    ] = 100,
    html: Annotated[
        Path | None, typer.Option(help="The page to write; refusal-MODEL.html by default.")
    ] = None,
    prompts: Annotated[
        str, typer.Option(help="Requests of your own: a CSV, JSONL or parquet file, or a hub dataset.")
    ] = PACKAGED,
    dtype: Annotated[str, typer.Option(help="auto (what is fast here), float32 or bfloat16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> Output:
    """Say whether refusal is separable in a chat model, whether it is controllable, and at what cost.

    Finds the refusal direction on some topics of requests and measures on others what taking it out and
    putting it in do, beside random directions and a behaviour that is known to be steerable. Writes one page.

    Requests of your own have the columns request, label (harmful or harmless) and topic.

    \b
    Example:
      mech audit-refusal smollm2-135m-instruct --n 60 --html audit.html
    """
    sources = project_sources()
    (name,) = canonical_models([model])
    page = existing_parent(html or Path(f"refusal-{_file_name(name)}.html"))
    # What a person mistook is told before torch is loaded, and long before the model is.
    require([dtype], set(DTYPES), "number format")
    require([device.partition(":")[0]], set(DEVICES), "device")
    facts = usable_model(name, dtype, sources)
    choice = enough_requests(prompts, n, sources)
    if device != "auto":
        os.environ["MECH_DEVICE"] = device  # read where the model is loaded, in whatever process that is
    chosen, rate = format_and_rate(dtype)
    typed = ["mech", "audit-refusal", model, "--n", str(n), "--dtype", chosen]
    typed += ["--prompts", prompts] if prompts != PACKAGED else []
    investigation = replace(
        investigation_of(audit_spec(name, choice, chosen), sources.catalog), slug=SLUG, call=shlex.join(typed)
    )
    options = MeasureOptions(force=force, dry_run=dry_run, json=json, debug=context.obj.debug)
    guess = CostEstimate(
        audit_flops(facts.n_params or GUESSED_PARAMETERS, facts.n_layers or GUESSED_LAYERS, n) / rate,
        ESTIMATE_SPREAD,
        facts.memory_bytes,
        f"products of this machine, {rate / 1e9:.0f} GFLOP/s in {chosen} just now",
    )
    return replace(_audited(investigation, options, guess, page), as_json=json)


def _file_name(model: str) -> str:
    """What names the page: the last part of a path or of a hub id."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).name).strip("-.") or "model"


def usable_model(name: str, dtype: str, sources: Sources) -> ModelFacts:
    """The facts of a chat model that can be had here.

    ModelUnknown with the nearest names, ModelUnavailable with what stands in the way, DataError for a model
    whose files have no chat template.
    """
    # The smaller format, where the machine has yet to say which one it is.
    facts = sources.model_facts(name, "float32" if dtype == "float32" else "bfloat16")
    if not facts.available:
        raise ModelUnavailable(f"{name} cannot be audited here: {facts.reason}", hint="engine models")
    if sources.has_chat_template(name) is False:
        raise DataError(
            f"{name} has no chat template",
            expected="a model that was trained on chats: a base model has no answer to refuse",
            seen="a tokenizer without a template",
            hint="an instruct model; `engine models` lists what can be had",
        )
    return facts


def enough_requests(name: str, n: int, sources: Sources) -> dict[str, Any]:
    """The prompts of the audit as a spec has them: enough of each label for `n` to be held out.

    DataError for a file that cannot be read, that has not both labels, or has too few requests.
    """
    given = sources.load_prompts(PromptChoice(name=name), Path.cwd(), CHAT).table
    if "label" not in given:
        seen = ", ".join(map(str, given.columns))
        raise DataError("these requests have no labels", where=name, expected=_labels(), seen=seen)
    counts = Counter(map(str, given["label"]))
    if set(counts) != {HARMFUL, HARMLESS}:
        raise DataError(
            "these labels are not the audit's", where=name, expected=_labels(), seen=_counted(counts)
        )
    needed = requests_needed(n)
    if min(counts.values()) < needed:
        possible = requests_held_out(min(counts.values()))
        raise DataError(
            f"too few requests to measure on {n}",
            where=name,
            expected=f"{needed} {HARMFUL} and as many {HARMLESS} ones: the others train and select",
            seen=_counted(counts),
            hint=f"--n {possible}" if possible >= LEAST else f"more requests; the least is --n {LEAST}",
        )
    return audit_prompts(name, n, len(given))


def _labels() -> str:
    return f"a column label, with {HARMFUL} and {HARMLESS}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {label}" for label, count in sorted(counts.items()))


def format_and_rate(dtype: str) -> tuple[str, float]:
    """The number format to use, and how fast this machine multiplies in it now (operations per second)."""
    # torch, which takes seconds to load, only once everything typed was found usable.
    from engine.models.fast_dtype import fast_dtype, product_rates

    rates = product_rates()
    chosen = fast_dtype(rates) if dtype == "auto" else dtype
    return chosen, rates.of(chosen)


def _audited(
    investigation: Investigation, options: MeasureOptions, estimate: CostEstimate, page: Path
) -> Output:
    """Plan, say what it will take, measure, write the page and say the answers."""
    sources = project_sources()
    with open_store(find_root_or_here()) as store:
        plan = _with_estimate(make_plan([investigation], store, sources, fresh=options.force), estimate)
        (run,) = plan.runs
        if not options.json:
            say(plan_line(run))
        if options.dry_run:
            return Output(data=plan.to_json())
        outcome = execute_plan(plan, store, options)
        ledger = assemble(investigation, store, plan, outcome.outcomes)
        entry = ledger.entry(EXPERIMENT)
        if entry.state == "unmeasured" and not entry.checks:
            # Several lines, as the error had them.
            why = outcome.failed.get(run.name) or entry.reason
            raise EngineError(f"{run.name.model} was not audited: {why}")
        return _written(ledger, entry, page)


def _with_estimate(plan: Plan, estimate: CostEstimate) -> Plan:
    """The plan with an estimate from this machine's speed, where it has a guess alone."""
    runs = [replace(run, estimate=estimate) if run.estimate.is_guess else run for run in plan.runs]
    return replace(plan, runs=tuple(runs))


def plan_line(run: PlannedRun) -> str:
    """What is about to happen, and how long it will take."""
    if run.decision == "reuse":
        return f"{run.name.model} was audited before: run {run.run_id}"
    e = run.estimate
    times = f"{human_seconds(e.low)} to {human_seconds(e.high)}"
    memory = human_bytes(e.memory_bytes)
    return f"To measure: {run.name.model}, {times}, {memory} of memory; estimate from {e.basis}"


def _written(ledger: Ledger, entry: Entry, page: Path) -> Output:
    """The page, and the answers for a person and a program."""
    asked = entry.provenance.asked if entry.provenance else {}
    title = f"Refusal audit of {entry.model}"
    html, _ = run_page(entry, asked, slug=SLUG, title=title, opening=partial(audit_opening, ledger))
    try:
        page.write_text(html, encoding="utf-8")
    except OSError as error:
        raise EngineError(f"it cannot be written: {error.strerror}", where=str(page)) from None
    found = answers(ledger)
    return Output(
        _text(found, entry, page),
        {
            "model": entry.model,
            "run_id": entry.provenance.run_id if entry.provenance else None,
            "answers": [vars(answer) for answer in found],
            "measurements": {name: measurement_fields(m) for name, m in entry.measurements.items()},
            "page": str(page),
        },
        # Withheld numbers need a person.
        exit_status=0 if found else 1,
    )


def _text(found: Sequence[AuditAnswer], entry: Entry, page: Path) -> list[str | TextTable]:
    text: list[str | TextTable] = []
    for answer in found:
        text.append(f"\n{answer.question} {answer.answer.capitalize()}.")
        text.append(f"  {answer.because}")
    if not found:
        text.append(f"\nno answer: {entry.reason}")
    return [*text, f"\nwritten to {page}"]
