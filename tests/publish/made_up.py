"""A made-up engine: ledgers with every state and verdict and a command line, without any model."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import typer
from pydantic import Field

from engine.evidence.result import Calibration, Check, Figure, Measurement
from engine.evidence.verdicts import Verdict
from engine.families import Declaration
from engine.publish.files import Content, generated
from engine.publish.overview import Report
from engine.publish.pages import reference_files, report_files, site_files
from engine.report.charts.pictures import PictureCache
from engine.report.render import render
from engine.runs.ledger import Entry, Ledger, Provenance, Replication
from engine.spec.family_params import SeedParams
from engine.spec.inputs import PAIRS, Inputs, Uses
from engine.spec.models import Claim, Experiment, KeyNumber, Spec

REPOSITORY = Path(__file__).parents[2]
NASTY = "<script>document.title = 'owned'</script> **bold** {{ 7 * 7 }} | `code` --8<-- \"mkdocs.yml\""
TITLE = "How does a model recall a fact?"
MODELS = ["tiny-llama", "tiny-gpt2", "far-away"]

TEMPLATE = """\
The rank of the answer falls from {{ lens.other_rank }} to {{ lens.final_rank }}, measured on
{{ lens.n_kept }} prompts; on tiny-gpt2 it is {{ lens.final_rank.on("tiny-gpt2") }}, and on far-away
{{ lens.final_rank.on("far-away") }}.

{% claim "rank-falls" %}The answer rises to the top.{% endclaim %}
{% claim "mostly-known" %}The model knows nearly all facts.{% endclaim %}
{% claim "heads-write", "undetermined" %}Whether single heads write it is open.{% endclaim %}

## Where the answer appears

{{ chart("lens.by_layer") }}

{{ chart("patch.grid") }}

## Prompt by prompt

{{ table("lens.per_prompt", rows=5) }}

## Where it holds

{{ where_it_holds() }}

## How this was measured

{{ how_measured() }}

## Repeat it

{{ repeat() }}
"""


def provenance(experiment: str, model: str, date: str = "2026-01-31T12:40:09Z") -> Provenance:
    return Provenance(
        12, "a3f9" * 16, "b71c" * 16, model, "c0de" * 16, "dequantised from Q4_1", "float32", "cpu",
        {"torch": "2.13.0"}, date, 8.25, f"mech run --name made-up/{experiment} --model {model}",
    )  # fmt: skip


def measurements() -> dict[str, Measurement]:
    found = [
        Measurement(
            "final_rank", 12.84, 9.1, 16.2, 120, "prompt", quantity="ranks", control="other_rank",
            about="Rank of the answer after the last layer", chosen_on="the select half",
        ),
        Measurement("share_known", 0.753, 0.71, 0.79, 160, "prompt", about="Facts that the model knows"),
        Measurement("other_rank", 375.0, 350.0, 401.0, 120, "prompt", "control", about="Another answer"),
        Measurement("n_kept", 120, None, None, 120, "prompt", exact=True, about="Prompts kept"),
    ]  # fmt: skip
    return {m.name: m for m in found}


def lens(model: str, **changes) -> Entry:
    layers = np.tile(np.arange(12), 2)
    rank = 375 * np.exp(-layers / 3) + np.repeat([5.0, 60.0], 12)
    by_layer = pd.DataFrame({"layer": layers, "mean_rank": rank, "low": rank * 0.8, "high": rank * 1.2})
    by_layer["which"] = np.repeat(["answer", "another prompt's answer"], 12)
    prompts = [NASTY, *(f"Fact: The capital city of country {i} is the city of" for i in range(24))]
    per_prompt = pd.DataFrame({"prompt": prompts, "answer": " Paris", "logit_diff": np.linspace(-1, 3.1, 25)})
    parts = {"x": "layer", "y": "mean_rank", "low": "low", "high": "high", "color": "which"}
    title, caption = "Rank of the answer by layer", "The band is the 95 % interval."
    figure = Figure("line", "by_layer", parts, title, caption, {"log_y": True})
    whole = {
        "state": "measured",
        "measurements": measurements(),
        "tables": {"by_layer": by_layer, "per_prompt": per_prompt},
        "figures": {"by_layer": figure},
        "checks": (Check("parity", 2.1e-6, 5e-5, "hooked logits equal the plain model's"),),
        "provenance": provenance("lens", model),
    }
    return Entry("lens", {}, model, **(whole | changes))


def patch(model: str, **changes) -> Entry:
    sites = [(layer, position) for layer in range(12) for position in range(4)]
    rows = [(layer, position, np.exp(-((layer - 7) ** 2) / 8 - position)) for layer, position in sites]
    grid = pd.DataFrame(rows, columns=["layer", "position", "restored"])
    parts = {"x": "layer", "y": "position", "color": "restored"}
    figure = Figure("heatmap", "grid", parts, "Where patching restores the answer")
    peak = Measurement("peak", 0.61, 0.55, 0.68, 120, "prompt", about="Restored at the best layer")
    random = Measurement("random_site", 0.02, -0.01, 0.05, 120, "prompt", "control", about="A random site")
    whole = {
        "state": "measured",
        "measurements": {"peak": peak, "random_site": random},
        "tables": {"grid": grid},
        "figures": {"grid": figure},
        "provenance": provenance("patch", model),
    }
    return Entry("patch", {}, model, **(whole | changes))


def ledger(slug: str = "fact-recall", title: str = TITLE) -> Ledger:
    spec = Spec(
        title=title,
        question="At which depth does the answer appear, and which parts of the model write it?",
        models=MODELS,
        experiments={
            "lens": Experiment(family="logit_lens"),
            "patch": Experiment(family="circuit_patching"),
        },
        claims={
            "rank-falls": Claim(holds="lens.final_rank < lens.other_rank", says="The answer rises"),
            "mostly-known": Claim(holds="lens.share_known > 0.9", says="The model knows nearly all facts"),
            "heads-write": Claim(holds="patch.peak > 0.6", says="Single heads write the answer"),
        },
        headline="The rank of the answer falls to {{ lens.final_rank }} on {{ lens.n_kept }} prompts.",
        key_numbers=[
            KeyNumber(number="lens.final_rank", says="rank of the answer", control_says="another answer"),
            KeyNumber(number="lens.share_known", says="of the facts are known", percent=True),
            KeyNumber(number="patch.peak", says="restored by the best head", control="patch.random_site"),
        ],
    )
    gone = {"state": "unmeasured", "reason": "the hub cannot be reached", "provenance": None}
    gone |= {"measurements": {}, "tables": {}, "figures": {}}
    entries = [lens("tiny-llama"), patch("tiny-llama")]
    entries += [make("tiny-gpt2", state="published", reason="over the budget") for make in (lens, patch)]
    entries += [make("far-away", **gone) for make in (lens, patch)]
    found = {
        "rank-falls": Verdict("rank-falls", "supported", 0.9998),
        "mostly-known": Verdict("mostly-known", "contradicted", 0.001),
        "heads-write": Verdict("heads-write", "undetermined", 0.64),
    }
    gone_too = {id: Verdict(id, "unmeasured", None, "the hub cannot be reached") for id in found}
    verdicts = {"tiny-llama": found, "tiny-gpt2": found, "far-away": gone_too}
    comparisons = (
        Replication("lens.final_rank", "tiny-llama", 12.8, 12.84, 9.1, 16.2, True),
        Replication("lens.share_known", "tiny-llama", 0.9, 0.753, 0.71, 0.79, False),
    )
    return Ledger(slug, spec, tuple(entries), verdicts, comparisons)


def report(
    root: Path,
    slug: str = "fact-recall",
    title: str = TITLE,
    text: str = TEMPLATE,
    pictures: PictureCache | None = None,
) -> Report:
    """A rendered report, with the folder of its investigation in `root`, and `pictures` of its charts."""
    folder = root / "investigations" / slug
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.yaml").write_text("title: made up\n")
    (folder / "report.md").write_text(text)
    made = ledger(slug, title)
    return Report(made, render(made, text, folder / "report.md", pictures=pictures), folder)


def unmeasured(root: Path, slug: str = "fact-recall") -> Report:
    """A report of which nothing was measured and nothing is published."""
    made = report(root, slug)
    gone = {"state": "unmeasured", "reason": "the hub cannot be reached", "provenance": None}
    gone |= {"measurements": {}, "tables": {}, "figures": {}}
    entries = tuple(replace(entry, **gone) for entry in made.ledger.entries)
    none = replace(made.ledger, entries=entries, comparisons=())
    text = "Nothing was measured.\n"
    return replace(made, ledger=none, rendered=render(none, text, made.folder / "report.md"))


def report_files_of(report: Report) -> dict[str, Content]:
    """The files of one report, calibrations left out."""
    return report_files(report)


def command_line() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def build(budget: str = typer.Option("10m", help="Time to measure."), fresh: bool = False) -> None:
        """Measure what is stale and build the site.

        \b
        Example:
          engine build --budget 5m
        """

    @app.command()
    def status(slug: str = typer.Argument("", help="One investigation.")) -> None:
        """Say what is stale, and why."""

    return app


def calibrations() -> dict[str, list[Calibration]]:
    right = Calibration("identity", "the last row of the lens is the output", "0 within 1e-5", 2e-6, 0, 1e-5)
    wrong = Calibration("planted", "the planted head is found", "1 within 0.1", 0.4, 0.9, 1.1)
    return {"logit_lens": [right], "circuit_patching": [wrong]}


FAMILY = """\
{name}: what a made-up method measures.

1. Run each prompt once.
2. Compare `a | b` with <another>.
"""


class Params(SeedParams):
    layers: Annotated[list[int] | None, Field(min_length=1)] = None
    """The layers to look at; all of them when left out."""
    kind: Literal["topk", "batchtopk"] = "topk"
    """Which activations are kept."""
    site: str
    """Where to look."""
    depth: float = Field(0.5, ge=0, lt=1)
    """How deep to look."""
    everywhere: list[str] = ["blocks.25%.hook_resid_post", "blocks.75%.hook_resid_post"]
    """Where else to look, from shallow to deep; words enough for the column to want all the room that there
    is, and the name of a site as `blocks.50%.hook_resid_post` among them."""


def families() -> dict[str, Declaration]:
    """Two families: one reads prompts, the other everything that there is to be read."""
    uses = {"saes": Uses("logit_lens", over="seed", hands_over=True), "lens": Uses("logit_lens")}
    everything = Inputs(
        "labelled", corpus=True, site=True, uses=uses, site_parameters=("depth",), second_model="site"
    )
    return {
        name: Declaration(FAMILY.format(name=name), inputs, Params)
        for name, inputs in [("circuit_patching", everything), ("logit_lens", Inputs(prompts=PAIRS))]
    }


def files(root: Path, *reports: Report) -> dict[str, Content]:
    reference = reference_files(command_line(), {"title": "Spec"}, linked_families(root) | families())
    return site_files(root, reports, reference=reference, calibrations=calibrations())


def linked_families(root: Path) -> dict[str, Declaration]:
    """A made-up family for each whose page a hand-written one links to."""
    ours = {root / "site" / name for name in generated(root / "site")}
    pages = {*(root / "site").rglob("*.md")} - ours
    texts = [page.read_text(encoding="utf-8") for page in pages]
    names = {name for text in texts for name in re.findall(r"reference/families/(\w+)\.md", text)}
    named = sorted(names - {"index"})
    return {name: Declaration(FAMILY.format(name=name), Inputs(prompts=PAIRS), Params) for name in named}


def project(root: Path) -> Path:
    """The repository's mkdocs.yml and the hand-written part of its site, copied into `root`."""
    ours = {REPOSITORY / "site" / name for name in generated(REPOSITORY / "site")}
    for source in (REPOSITORY / "site").rglob("*"):
        if source.is_file() and source not in ours and not source.name.startswith("."):
            target = root / source.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    shutil.copy(REPOSITORY / "mkdocs.yml", root)
    return root
