"""Links below a chart that open the demo with the panel, the prompt and the settings that show it there.

A chart of a report is over many prompts and the demo shows one, the first of them. Which state shows a chart
follows from its family, its name and its prompts; only charts of the demo's own model have one. A link is the
query that `engine.demo.address` reads; a test holds the two together, since this room lies above that one.
The links are put in when a page is written, so that a printed report does not depend on where the demo runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from engine.data.prompts import data_hash, load_prompts, prompt_set_names
from engine.errors import EngineError
from engine.publish.overview import Report
from engine.report.escape import for_site
from engine.report.json_cache import JsonCache
from engine.runs.planning.code_hash import digest
from engine.spec.inputs import ANSWERS, PromptKind
from engine.spec.models import Experiment, PromptChoice

MODEL = "smollm2-135m-instruct"
"""The model that the demo runs on unless it is told another."""

ON_THIS_MACHINE = "http://127.0.0.1:7860/"
"""Where `mech demo` listens, if no site says where else."""

Prompt = Mapping[str, str]
"""The first row of a prompt set, by column."""
Fields = Mapping[str, str]
"""A panel's state as far as it is not the default, with `panel`, its name."""

_DOWNLOADS = re.compile(
    r'(data-spec="charts/([A-Za-z0-9_.-]+)\.json".*?<span class="mech-downloads">.*?)(</span>)', re.DOTALL
)


@dataclass(frozen=True)
class ShownInPanel:
    """How a family's figures are shown: the kind of its prompts, and the fields by figure and prompt."""

    kind: PromptKind
    fields: Callable[[str, Prompt], Fields | None]


def _lens(figure: str, prompt: Prompt) -> Fields | None:
    shown = {"rank": "rank", "commits": "rank", "logprob": "probability"}.get(figure)
    if shown is None:
        return None
    return {"panel": "lens", "prompt": prompt["clean"], "answer": prompt["answer"], "show": shown}


def _tuned_lens(figure: str, prompt: Prompt) -> Fields | None:
    if figure != "rank":  # the other one is over running text
        return None
    return {"panel": "lens", "prompt": prompt["clean"], "answer": prompt["answer"], "lens": "tuned"}


PANELS: dict[str, ShownInPanel] = {
    "logit_lens": ShownInPanel(ANSWERS, _lens),
    "tuned_lens": ShownInPanel(ANSWERS, _tuned_lens),
}
"""The families whose figures a panel can show."""


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
        if fields := _fields(experiment, figure, report.folder, prompts):
            found[id] = f"?{urlencode(fields)}"
    return found


def _fields(experiment: Experiment, figure: str, folder: Path, prompts: FirstPrompts) -> Fields | None:
    panel = PANELS.get(experiment.family)
    if panel is None or experiment.prompts is None:
        return None
    first = prompts.of(experiment.prompts, folder, panel.kind)
    return panel.fields(figure, first) if first else None


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
