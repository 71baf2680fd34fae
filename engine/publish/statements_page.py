"""Published statements, tested: what others stated, the stand-in here, what was measured and the verdict.

The statements are the claims with `about:` or `published:`, founding ones first: those that the project was
begun in order to test. On another model than the statement is about a verdict is `found here` or `not found
here`; one on a claim that compares numbers with published ones is a verdict like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError, nearest
from engine.evidence.claims import parse
from engine.evidence.printing import interval_text
from engine.publish.markdown import page
from engine.report.bibliography import Reference
from engine.report.claim_sentences import css_class, verdict_of
from engine.report.escape import for_site
from engine.report.lint import Concern
from engine.report.numbers import is_withheld
from engine.report.references_file import references_beside
from engine.runs.ledger import Ledger
from engine.spec.models import Claim

PATH = "published-statements/index.md"
NO_SOURCE = "no source is given"

_KEY = re.compile(r"@([\w:.-]*\w)")


@dataclass(frozen=True)
class StatementSummary:
    """One statement as the page shows it; plain data, to be kept. Texts are HTML but for the title."""

    slug: str
    investigation: str
    statement: str
    of: str
    source: str
    tested_as: str
    results: Sequence[Sequence[str]]  # model, what was measured, verdict, why it is no plainer one
    command: str
    founding: bool


def statements_of(ledger: Ledger, folder: Path) -> list[StatementSummary]:
    """The published statements that an investigation tests, in the order of its claims."""
    references = _references(folder)
    return [
        _summary(ledger, claim_id, claim, references)
        for claim_id, claim in ledger.spec.claims.items()
        if claim.about or claim.published
    ]


def wrong_sources(ledger: Ledger, folder: Path) -> list[Concern]:
    """The sources that name no entry of references.bib, with the nearest keys."""
    known = _references(folder)
    found = []
    for claim_id, claim in ledger.spec.claims.items():
        for key in _KEY.findall(claim.published.source) if claim.published else ():
            if key not in known:
                near = nearest(key, known)
                told = f"; nearest: {', '.join(near)}" if near else ""
                message = f"references.bib has no entry {key!r}{told}"
                where = f"{folder.name}/spec.yaml: claims.{claim_id}.published.source"
                found.append(Concern("unknown-source", where, message))
    return found


def statements_page(statements: Sequence[StatementSummary]) -> str:
    """Every statement with its test, founding ones first."""
    about = "What others stated of language models, what was measured here, and the verdict."
    first = [s for s in statements if s.founding]
    others = [s for s in statements if not s.founding]
    body = [
        f"{about} A statement about a model that cannot be had here is tested on a stand-in: the verdict is "
        "then *found here* or *not found here*, which neither supports nor contradicts what was said of "
        "the other model. The last line of each tells how to test the model itself where the Hugging Face "
        "hub can be reached."
    ]
    if statements:
        body.append(_at_a_glance([*first, *others]))
    if first:
        body += ["## What this platform was built to test", *_by_investigation(first)]
    if others:
        body += ["## Other published statements" if first else "## Statements", *_by_investigation(others)]
    if not statements:
        body.append("No claim names a published statement yet.")
    return page("Published statements, tested", "\n\n".join(body), about=about)


# the data


def _references(folder: Path) -> Mapping[str, Reference]:
    try:
        return references_beside(folder / "report.md")
    except EngineError:  # told where the report is printed
        return {}


def _summary(
    ledger: Ledger, claim_id: str, claim: Claim, references: Mapping[str, Reference]
) -> StatementSummary:
    stated = claim.published
    says = claim.says or claim.holds
    return StatementSummary(
        ledger.slug,
        ledger.spec.title,
        str(for_site((stated and stated.says) or says)),
        str(for_site((stated and stated.of) or claim.about or "")),
        _source(stated.source, references) if stated else NO_SOURCE,
        str(for_site(says)),
        _results(ledger, claim_id, claim),
        _command(ledger, claim),
        bool(stated and stated.founding),
    )


def _source(source: str, references: Mapping[str, Reference]) -> str:
    """The source with each key as authors and year, which lead to the work where it has an address."""
    parts = []
    end = 0
    for key in _KEY.finditer(source):
        parts += [for_site(source[end : key.start()]), _work(key[0], references.get(key[1]))]
        end = key.end()
    return "".join(map(str, [*parts, for_site(source[end:])]))


def _work(written: str, reference: Reference | None) -> str:
    if reference is None:
        return str(for_site(written))
    told = f"{for_site(reference.short)}, <cite>{for_site(reference.title)}</cite>"
    return f'<a href="{for_site(reference.url)}">{told}</a>' if reference.url else told


def _results(ledger: Ledger, claim_id: str, claim: Claim) -> list[list[str]]:
    """On each model that has a verdict, else on the primary one: the numbers that decide, and the verdict."""
    rows = []
    for model in ledger.spec.models:
        verdict = verdict_of(ledger, claim_id, model)
        if verdict.verdict == "unmeasured" and (rows or model != ledger.primary):
            continue
        measured = "<br>".join(_numbers(ledger, claim, model)) or "nothing yet"
        badge = f'<span class="mech-verdict {css_class(verdict.verdict)}">{verdict.verdict}</span>'
        rows.append([str(for_site(model)), measured, badge, str(for_site(verdict.reason))])
    # Where another model has a verdict, that the primary one has none is no result.
    decided = [row for row in rows if "mech-unmeasured" not in row[2]]
    return decided or rows


def _numbers(ledger: Ledger, claim: Claim, model: str) -> list[str]:
    """Each number that the predicate names, with interval and n, and its control."""
    told = []
    for name in parse(claim.holds).names:
        try:
            number, entry = ledger.number(name, model)
        except EngineError:  # told where claims are judged
            continue
        if number is None or is_withheld(entry):
            continue
        text = f"<code>{for_site(name)}</code> {for_site(interval_text(number))}"
        control = entry.measurements.get(number.control)
        if control is not None:
            text += f"; control <code>{for_site(control.name)}</code> {for_site(interval_text(control))}"
        published = ", published and not measured here" if entry.state == "published" else ""
        told.append(f"{text}{published}")
    return told


def _command(ledger: Ledger, claim: Claim) -> str:
    """What tests the statement on its own model; empty where that is no model of the spec."""
    model = claim.about or (claim.published.of if claim.published else None)
    if model not in ledger.spec.models:
        return ""
    return f"engine build {ledger.slug} --model {model} --budget all"


# the page


def _by_investigation(statements: Sequence[StatementSummary]) -> list[str]:
    """The statements under the title of the investigation that tests them."""
    blocks = []
    for slug in dict.fromkeys(s.slug for s in statements):
        mine = [s for s in statements if s.slug == slug]
        blocks.append(f"### {for_site(mine[0].investigation)}")
        blocks += map(_section, mine)
        blocks.append(f'<p><a href="../investigations/{slug}/">The whole report</a></p>')
    return blocks


def _at_a_glance(statements: Sequence[StatementSummary]) -> str:
    """Each statement in a row, what was claimed here of it, and the verdicts: these are on the claim."""
    rows = []
    for s in statements:
        stated = f"{s.statement}<br><small>{s.of}</small>" if s.of else s.statement
        claimed = s.tested_as if s.tested_as != s.statement else "the same"
        rows.append(f"<tr><td>{stated}</td><td>{claimed}</td><td>{_verdicts(s)}</td></tr>")
    head = "".join(f"<th scope=col>{title}</th>" for title in ("Stated", "Tested here as", "Verdict on that"))
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="mech-statements">{table}</div>'


def _verdicts(s: StatementSummary) -> str:
    return "<br>".join(f"{verdict} <small>{model}</small>" for model, _, verdict, _ in s.results)


def _section(s: StatementSummary) -> str:
    facts = [("Verdict", _verdicts(s)), ("Published", s.source), ("Stated of", s.of or "no one model")]
    if s.tested_as != s.statement:
        facts.append(("Tested here as", s.tested_as))
    for model, measured, _, reason in s.results:
        told = f"{measured}<br>{reason}" if reason else measured
        facts.append((f"{model}{'' if model == s.of else ', stand-in'}", told))
    test = f"<code>{for_site(s.command)}</code>" if s.command else _untestable(s.of)
    facts.append(("On the model itself", test))
    rows = "".join(f"<div><dt>{label}</dt><dd>{text}</dd></div>" for label, text in facts)
    quote = f"<blockquote><p>{s.statement}</p></blockquote>"
    return f'<section class="mech-statement">{quote}<dl class="mech-facts">{rows}</dl></section>'


def _untestable(of: str) -> str:
    named = f" {of}" if of else " it"
    return f"its spec does not name{named} as a model of the hub: add one to <code>models:</code>"
