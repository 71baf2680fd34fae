"""The first draft of a paper, written from the evidence of its investigations, for a person to go on from.

Title, abstract (question and headline), methods (the families' docstrings and the parameters that were run),
results (claims with their verdicts and numbers, and the charts of the report), what was not decided, the
assumptions, what a study at scale would take, and references. Every number in it is named, none is typed.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.evidence.claims import parse
from engine.publish.draft_text import (
    charts_of_report,
    draft_path,
    said,
    unwrapped,
    with_slug,
    write_draft,
)
from engine.publish.markdown import code
from engine.report.bibliography import BibtexSources
from engine.report.claim_sentences import verdict_of
from engine.report.references_file import bibtex_beside
from engine.runs.ledger import Entry, Ledger
from engine.spec.models import Claim

CHARTS_OF_EACH = 2
DECIDED = ("supported", "contradicted", "found here", "not found here")
TRAINERS = ("polysemanticity_sae", "crosscoder")
"""Families whose study at scale the scale ledger works out."""
_SCALE = re.compile(r"<!-- scale: description -->\n(.*?)<!-- end -->", re.S)


def write_paper_draft(
    root: Path, slug: str, ledgers: Sequence[Ledger], methods: Mapping[str, str]
) -> list[Path]:
    """Write `publications/<slug>/paper.qmd` and `references.bib`; EngineError where there is a paper already.

    `methods` are the docstrings of the families that the ledgers use, by name, without their pitfalls.
    """
    paper = draft_path(root, slug, "paper", ledgers[0].slug)
    write_draft(paper, paper_draft(root, ledgers, methods))
    references = paper.with_name("references.bib")
    if not references.exists():
        write_draft(references, _references(root, ledgers))
    return [paper, references]


def paper_draft(root: Path, ledgers: Sequence[Ledger], methods: Mapping[str, str]) -> str:
    """The draft as text."""
    sections = [
        _header(ledgers),
        "# Introduction {#sec-introduction}",
        *_introduction(ledgers),
        "# Method {#sec-method}",
        *_methods(ledgers, methods),
        "# Results {#sec-results}",
        *(part for ledger in ledgers for part in _results(root, ledger)),
        "# What was not decided {#sec-undecided}",
        *_undecided(ledgers),
        "# Assumptions and limitations {#sec-limitations}",
        *(f'{{{{ assumptions("{ledger.slug}") }}}}' for ledger in ledgers),
        *_scale(root, ledgers),
    ]
    return "\n\n".join(sections) + "\n"


def _header(ledgers: Sequence[Ledger]) -> str:
    title = "; ".join(ledger.spec.title for ledger in ledgers)
    abstract = [
        unwrapped(f"{said(ledger.spec.question)} {with_slug(ledger.spec.headline, ledger)}")
        for ledger in ledgers
    ]
    lines = [
        f"title: {json.dumps(title, ensure_ascii=False)}",
        "author:",
        "  - name: A. N. Author",
        "    affiliation: An institute",
        f"date: {datetime.date.today().isoformat()}",
        "draft: true",
        f"investigations: [{', '.join(ledger.slug for ledger in ledgers)}]",
        "bibliography: references.bib",
        "number-sections: true",
        "format: {typst: default, html: default, docx: default}",
        "abstract: |",
        *(f"  {line}" for text in abstract for line in (text, "")),
    ]
    return "\n".join(["---", *lines[:-1], "---"])


def _introduction(ledgers: Sequence[Ledger]) -> Iterator[str]:
    for ledger in ledgers:
        yield said(unwrapped(ledger.spec.question))
    statements = [claim for ledger in ledgers for claim in ledger.spec.claims.values() if claim.about]
    if statements:
        yield "These published statements are tested on stand-ins:"
        yield "\n".join(f"- of `{claim.about}`: {said(claim.says or claim.holds)}" for claim in statements)


def _methods(ledgers: Sequence[Ledger], methods: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys(e.family for ledger in ledgers for e in ledger.spec.experiments.values()):
        about, _, steps = methods[name].partition("\n")
        yield f"## {said(about.rstrip('.'))}"
        yield said(steps.strip())
    for ledger in ledgers:
        rows = [_setting(name, ledger) for name in ledger.spec.experiments]
        head = "| experiment | models | where and on what | parameters |\n|---|---|---|---|\n"
        yield head + "\n".join(rows)
        yield f": What was run for {said(ledger.spec.title)} {{#tbl-settings-{ledger.slug}}}"


def _setting(name: str, ledger: Ledger) -> str:
    """A row on an experiment as it was run, with every default where it was; else as the spec has it."""
    experiment = ledger.spec.experiments[name]
    entries = [e for e in ledger.entries if e.experiment == name]
    asked: Mapping[str, Any] = next((e.provenance.asked for e in entries if e.provenance), {})
    parameters = asked.get("parameters") or experiment.parameters
    data = [_hook_site(entries) or experiment.hook_site or ""]
    data += [f"{choice.name}" for choice in (experiment.prompts, experiment.corpus) if choice and choice.name]
    told = ", ".join(f"{key}={value}" for key, value in parameters.items() if value not in ("", None))
    models = ", ".join(code(model) for model in experiment.models or ledger.spec.models)
    cells = [code(name), models, ", ".join(code(text) for text in data if text), code(told)]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _hook_site(entries: Iterable[Entry]) -> str:
    return next((e.provenance.hook_site for e in entries if e.provenance and e.provenance.hook_site), "")


def _results(root: Path, ledger: Ledger) -> Iterator[str]:
    yield f"## {said(ledger.spec.title)}"
    for name, claim in ledger.spec.claims.items():
        verdict = verdict_of(ledger, name, ledger.primary).verdict
        if verdict in DECIDED:
            yield _claim(ledger, name, claim, verdict)
    for chart in charts_of_report(root, ledger)[:CHARTS_OF_EACH]:
        yield f'{{{{ chart("{ledger.slug}.{chart}") }}}}'


def _claim(ledger: Ledger, name: str, claim: Claim, verdict: str) -> str:
    """The claim as a sentence with its verdict, and the numbers that it is about."""
    sentence = said(unwrapped(claim.says or claim.holds))
    tag = f'{{% claim "{ledger.slug}.{name}", "{verdict}" %}}{sentence}{{% endclaim %}}'
    numbers = [f"{code(number)} {_number(ledger, number)}" for number in sorted(parse(claim.holds).names)]
    return f"{tag}\nMeasured: **{verdict}** ({', '.join(numbers)})."


def _number(ledger: Ledger, name: str) -> str:
    return f'{{{{ number("{ledger.slug}.{name}") }}}}'


def _undecided(ledgers: Sequence[Ledger]) -> Iterator[str]:
    items = []
    for ledger in ledgers:
        for name, claim in ledger.spec.claims.items():
            verdict = verdict_of(ledger, name, ledger.primary)
            if verdict.verdict not in DECIDED:
                why = f": {said(verdict.reason)}" if verdict.reason else ""
                sentence = said(unwrapped(claim.says or claim.holds))
                tag = f'{{% claim "{ledger.slug}.{name}", "{verdict.verdict}" %}}{sentence}{{% endclaim %}}'
                items.append(f"- {tag} Measured: **{verdict.verdict}**{why}")
    yield "\n".join(items) or "Every claim was decided."


def _scale(root: Path, ledgers: Sequence[Ledger]) -> Iterator[str]:
    """What the study would cost at scale, where the scale ledger speaks of its families."""
    families = {e.family for ledger in ledgers for e in ledger.spec.experiments.values()}
    page = root / "site" / "scale.md"
    if families & {*TRAINERS} and page.is_file():
        text = page.read_text(encoding="utf-8")
        if described := _SCALE.search(text):
            total = re.search(r"^In all .*$", text, re.M)
            words = " ".join([described[1].strip(), total[0] if total else ""]).strip()
            yield f"A study at scale, worked out from measured throughput: {said(words)}"


def _references(root: Path, ledgers: Sequence[Ledger]) -> str:
    """The works of the investigations' own bibliographies, each once."""
    macros: dict[str, None] = {}
    entries: dict[str, str] = {}
    for ledger in ledgers:
        sources = bibtex_beside(root / "investigations" / ledger.slug / "report.md")
        macros |= dict.fromkeys(sources.macros)
        entries = {**sources.entries, **entries}
    return BibtexSources(tuple(macros), entries).text
