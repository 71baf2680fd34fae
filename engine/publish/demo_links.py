"""Links below a chart that open the demo with the panel, the prompt and the settings that show it there.

A chart of a report is over many prompts and the demo shows one, the first of them. Which state shows a chart
follows from its family, its name and its prompts; only charts of the demo's own model have one. A link is the
query that `engine.demo.address` reads; a test holds the two together, since this room lies above that one.
The links are put in when a page is written, so that a printed report does not depend on where the demo runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from engine.data.prompts import data_hash, load_prompts, prompt_set_names
from engine.errors import EngineError
from engine.models.known import KNOWN
from engine.publish.overview import Report
from engine.report.escape import for_site
from engine.report.json_cache import JsonCache
from engine.runs.planning.code_hash import digest
from engine.spec.inputs import ANSWERS, CONTRAST, PAIRS, PromptKind
from engine.spec.models import Experiment, PromptChoice, Spec

MODEL = KNOWN[0].name
"""The model that the demo runs on unless it is told another."""

ON_THIS_MACHINE = "http://127.0.0.1:7860/"
"""Where `mech demo` listens, if no site says where else."""

Prompt = Mapping[str, str]
"""The first row of a prompt set, by column."""
Fields = Mapping[str, str]
"""Fields of a panel's state, as an address writes them."""

_DOWNLOADS = re.compile(
    r'(data-spec="charts/([A-Za-z0-9_.-]+)\.json".*?<span class="mech-downloads">.*?)(</span>)', re.DOTALL
)


OfExperiment = Callable[[Experiment, Spec], Fields | None]
"""What an experiment of a spec says of a panel's state; None where the panel does not show its figures."""


@dataclass(frozen=True)
class PanelLink:
    """The state of a panel that shows a figure.

    `columns` are fields with the column of the prompt set that they have the first prompt's text of, and
    `settings` are the same for every experiment. Fields that are left out keep their defaults.
    """

    panel: str
    settings: Fields = field(default_factory=dict)
    prompts: PromptKind | None = None
    columns: Fields = field(default_factory=dict)
    of_experiment: OfExperiment = lambda experiment, spec: {}

    def query(self, prompt: Prompt, own: Fields) -> str:
        """The address of the state, from its question mark on; `own` is what the experiment says."""
        typed = {name: prompt[column] for name, column in self.columns.items()}
        return f"?{urlencode({'panel': self.panel, **typed, **self.settings, **own})}"


def _as_the_panel_patches(experiment: Experiment, spec: Spec) -> Fields | None:
    """The panel takes a fact away by its pair, and measures logit differences."""
    said = experiment.parameters
    measures = said.get("metric", "logit_diff") == "logit_diff"
    return {} if measures and said.get("ablation", "interchange") == "interchange" else None


def _of_a_packaged_concept(experiment: Experiment, spec: Spec) -> Fields | None:
    """The panel makes the vectors of the packaged contrasts by itself."""
    name = experiment.prompts.name if experiment.prompts else None
    instruction = experiment.parameters.get("instruction")
    return {"vector": name, "instruction": str(instruction)} if name in CONCEPTS and instruction else None


def _at_the_packaged_site(experiment: Experiment, spec: Spec) -> Fields | None:
    """The panel's own two dictionaries read one site, in the middle of the model."""
    used = spec.experiments.get(experiment.uses.get("saes", ""))
    return {} if used is not None and used.hook_site in PACKAGED_SITES else None


CONCEPTS = ("sentiment", "certainty")
PACKAGED_SITES = ("blocks.50%.hook_resid_pre", "blocks.15.hook_resid_pre")
FACT = {"prompt": "clean", "answer": "answer"}
PAIR = {name: name for name in ("clean", "corrupted", "answer", "wrong_answer")}
# The last token at two thirds of the depth, where in many models it has taken the fact over.
LAST_TOKEN = {"position": "-1", "layer": str(2 * KNOWN[0].shape.n_layers // 3) if KNOWN[0].shape else "0"}

lens = partial(PanelLink, "lens", prompts=ANSWERS, columns=FACT)
patching = partial(PanelLink, "patching", prompts=PAIRS, columns=PAIR, of_experiment=_as_the_panel_patches)
steering = partial(
    PanelLink,
    "steering",
    prompts=CONTRAST,
    columns={"prompt": "prompt"},
    of_experiment=_of_a_packaged_concept,
)

FIGURES: dict[str, dict[str, PanelLink]] = {
    "logit_lens": {
        "rank": lens(),
        "commits": lens(),
        "logprob": lens({"show": "probability"}),
    },
    "tuned_lens": {"rank": lens({"lens": "tuned"})},
    "circuit_patching": {
        "denoising": patching(LAST_TOKEN),
        "noising": patching({"direction": "noising", **LAST_TOKEN}),
        "heads": patching({"site": "z", **LAST_TOKEN}),
        "top_heads": patching({"site": "z", **LAST_TOKEN}),
    },
    "caa_steering": {"dose_response": steering(), "perplexity": steering()},
    "sae_stability": {"best_match": PanelLink("sae", of_experiment=_at_the_packaged_site)},
}
"""By family and figure, the panel that shows it; figures that no panel shows are left out."""


def demo_link(demo_url: str, query: str) -> str:
    """The address that opens a state: of the demo that readers find running, else of one on their machine."""
    return f"{demo_url or ON_THIS_MACHINE}{query}"


def demo_queries(report: Report, prompts: FirstPrompts) -> dict[str, str]:
    """The query of the state that shows a chart, by the chart's id; without charts that no panel shows."""
    ledger = report.ledger
    found: dict[str, str] = {}
    # Charts and the calls that drew them stand in the order of the page, each once.
    for id, call in zip(report.rendered.charts, report.rendered.chart_calls, strict=True):
        label, _, figure = call.name.rpartition(".")
        experiment = ledger.spec.experiments.get(label.partition("[")[0])
        # A chart of another investigation is shown on that one's own page, with its link.
        if call.slug != ledger.slug or experiment is None or (call.model or ledger.primary) != MODEL:
            continue
        if query := query_of(experiment, figure, ledger.spec, report.folder, prompts):
            found[id] = query
    return found


def query_of(
    experiment: Experiment, figure: str, spec: Spec, folder: Path, prompts: FirstPrompts
) -> str | None:
    """The query of the state that shows a figure of a spec in `folder`; None where no panel does."""
    link = FIGURES.get(experiment.family, {}).get(figure)
    own = link.of_experiment(experiment, spec) if link else None
    if link is None or own is None:
        return None
    first: Prompt | None = {}
    if link.prompts is not None:
        first = prompts.of(experiment.prompts, folder, link.prompts) if experiment.prompts else None
    # A set may leave out what a family can do without, such as the answer.
    return link.query(first, own) if first is not None and {*link.columns.values()} <= first.keys() else None


class FirstPrompts:
    """The first prompt of each set that reports were measured on, kept by the set's content."""

    def __init__(self, kept: JsonCache | None = None) -> None:
        self.kept = kept or JsonCache()
        self.read: dict[str, Prompt] = {}

    def of(self, choice: PromptChoice, folder: Path, kind: PromptKind) -> Prompt | None:
        """The first prompt of what a spec in `folder` chose; None where it is not at hand, or no such text.

        A set of the hub is not asked for: nothing is fetched for a link.
        """
        name = choice.name
        if not (name is None or name in prompt_set_names() or (folder / name).is_file()):
            return None
        try:
            key = digest(f"{kind} {choice.model_dump_json()} {data_hash(choice, folder)}")
            if key not in self.read:
                self.read[key] = self.kept.get(key) or self._first(key, choice, folder, kind)
        except EngineError:  # what is wrong with a set is told where it is planned
            return None
        return self.read[key]

    def _first(self, key: str, choice: PromptChoice, folder: Path, kind: PromptKind) -> Prompt:
        row = load_prompts(choice, folder, kind).table.iloc[0]
        first = {str(name): text for name, text in row.items() if isinstance(text, str)}
        self.kept.put(key, first)
        return first


def with_demo_links(page: str, links: Mapping[str, str]) -> str:
    """A page whose charts have a link to the demo, by the chart's id, beside the links to their data."""

    def linked(found: re.Match[str]) -> str:
        link = links.get(found[2])
        if not link:
            return found[0]
        return f'{found[1]} <a class="mech-open-demo" href="{for_site(link)}">Open in demo</a>{found[3]}'

    return _DOWNLOADS.sub(linked, page) if links else page
