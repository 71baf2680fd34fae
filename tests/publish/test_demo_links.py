"""Which charts have a link to the demo, which state it opens, and that nothing else of the page changes."""

import html
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.publish.demo_links import FirstPrompts, demo_queries, with_demo_links
from engine.publish.overview import Report
from engine.publish.pages import report_files
from engine.publish.site_settings import SiteSettings
from engine.report.json_cache import JsonCache
from engine.spec.inputs import ANSWERS, PAIRS
from engine.spec.models import Experiment, PromptChoice
from tests.publish import made_up

PAGE = "investigations/fact-recall/index.md"


@pytest.fixture
def report(project: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """A report on the demo's model, with prompts of its own."""
    monkeypatch.setattr("engine.publish.demo_links.MODEL", "tiny-llama")
    return with_prompts(made_up.report(project), "facts")


def with_figures_called(report: Report, name: str) -> Report:
    """The report with its charts under the name of a figure that the family has; made-up ones have others."""
    calls = [replace(call, name=call.name.replace("by_layer", name)) for call in report.rendered.chart_calls]
    return replace(report, rendered=replace(report.rendered, chart_calls=calls))


def with_prompts(report: Report, prompts: str) -> Report:
    spec = report.ledger.spec
    experiments = {
        "lens": Experiment(family="logit_lens", prompts=PromptChoice(name=prompts)),
        "patch": Experiment(family="made_up", prompts=PromptChoice(name=prompts)),
    }
    ledger = replace(report.ledger, spec=spec.model_copy(update={"experiments": experiments}))
    return replace(report, ledger=ledger)


def test_a_chart_opens_its_panel_with_its_first_prompt(report: Report) -> None:
    named = with_figures_called(report, "rank")
    queries = demo_queries(named, FirstPrompts())
    assert list(queries) == ["lens.by_layer"]
    said = parse_qs(queries["lens.by_layer"].removeprefix("?"))
    assert said["panel"] == ["lens"] and said["answer"] == [" Paris"]
    assert said["prompt"] == ["Fact: The government of France is based in the capital city of"]
    text = html.unescape(str(report_files(named, settings=SiteSettings(demo_url="https://demo.org/"))[PAGE]))
    (link,) = re.findall(r'<a class="mech-open-demo" href="([^"]*)">Open in demo</a></span>', text)
    assert urlsplit(link).netloc == "demo.org" and f"?{urlsplit(link).query}" == queries["lens.by_layer"]


def test_a_chart_of_another_model_or_figure_has_none(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo_queries(report, FirstPrompts()) == {}  # no figure of this name
    monkeypatch.setattr("engine.publish.demo_links.MODEL", "another")
    assert demo_queries(with_figures_called(report, "rank"), FirstPrompts()) == {}


def test_a_set_that_is_not_at_hand_gives_no_prompt_and_no_error(project: Path) -> None:
    prompts = FirstPrompts()
    for name in ("someone/on-the-hub", "gone.jsonl", "../outside.jsonl"):
        assert prompts.of(PromptChoice(name=name), project, PAIRS) is None
    broken = project / "broken.jsonl"
    broken.write_text('{"clean": 1}\n')
    assert prompts.of(PromptChoice(name="broken.jsonl"), project, PAIRS) is None


def test_the_first_prompt_is_kept_by_what_the_set_holds(project: Path) -> None:
    kept = JsonCache(project / "kept")
    file = project / "own.jsonl"
    line = '{{"id": "{0}", "relation": "r", "prompt": "{0} is", "answer": " 1"}}\n'
    choice = PromptChoice(name="own.jsonl")
    file.write_text(line.format("a") + line.format("b"))
    first = FirstPrompts(kept).of(choice, project, ANSWERS)
    assert first is not None and first["clean"] == "a is"
    assert FirstPrompts(kept).of(choice, project, ANSWERS) == first
    assert len(list((project / "kept").iterdir())) == 1
    file.write_text(line.format("b") + line.format("a"))
    changed = FirstPrompts(kept).of(choice, project, ANSWERS)
    assert changed is not None and changed["clean"] == "b is"


def test_only_the_charts_that_are_named_are_linked() -> None:
    chart = '<figure data-spec="charts/{0}.json"><span class="mech-downloads"><a>Data</a></span></figure>'
    page = chart.format("lens.rank") + "prose " + chart.format("dla.mlps") + chart.format("lens.rank")
    linked = with_demo_links(page, {"lens.rank": 'http://x/?a=1&b="'})
    assert linked.count("Open in demo") == 2
    assert chart.format("dla.mlps") in linked
    assert html.unescape(linked).count('href="http://x/?a=1&b="">Open in demo</a></span>') == 2
    assert re.sub(r' <a class="mech-open-demo"[^>]*>Open in demo</a>', "", linked) == page
    assert with_demo_links(page, {}) == page
