"""The first draft of a thread, from the evidence of its investigations, for a person to go on from.

One idea a post: the headline, each supported claim with its numbers and their controls, an assumption that
nothing stresses, and where the rest is to be found. Every number in it is named, none is typed. Of each
post the longest form that fits is taken, so that the draft builds as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine.errors import TemplateError
from engine.evidence.claims import parse
from engine.evidence.result import Measurement
from engine.publish.draft_text import charts_of_report, draft_path, said, unwrapped, with_slug, write_draft
from engine.publish.publications import publication_in
from engine.publish.threads.thread import print_thread
from engine.report.claim_sentences import verdict_of
from engine.runs.ledger import Ledger
from engine.runs.library import Library
from engine.spec.models import Claim

ASSERTED = ("supported", "found here")
NUMBERS = 3
"""More numbers of one claim are left to the report."""

_SENTENCE_END = re.compile(r"(?<=[.;:!?])\s+(?=[A-Z{a-z])")


def write_thread_draft(root: Path, slug: str, ledgers: Sequence[Ledger]) -> Path:
    """Write `publications/<slug>/thread.md`; EngineError where there is a thread already."""
    path = draft_path(root, slug, "thread", ledgers[0].slug)
    write_draft(path, thread_draft(root, path, ledgers))
    return path


def thread_draft(root: Path, path: Path, ledgers: Sequence[Ledger]) -> str:
    """The draft as text; `path` is where it will lie."""
    fits = _fitting(path, ledgers)
    posts = [post for ledger in ledgers for post in _posts(root, ledger, fits)]
    return _header(ledgers) + "\n\n---\n\n".join(posts) + "\n"


def _header(ledgers: Sequence[Ledger]) -> str:
    title = "; ".join(ledger.spec.title for ledger in ledgers)
    slugs = ", ".join(ledger.slug for ledger in ledgers)
    lines = [f"title: {json.dumps(title, ensure_ascii=False)}", "draft: true", f"investigations: [{slugs}]"]
    return "\n".join(["---", *lines, "---", "", ""])


Fits = Callable[[Sequence[str]], str]
"""The first of several forms of a post that fits; empty where none does."""


def _fitting(path: Path, ledgers: Sequence[Ledger]) -> Fits:
    library = Library({ledger.slug: ledger for ledger in ledgers})

    def fits(forms: Sequence[str]) -> str:
        for form in forms:
            # Longer than any number of posts that it will be one of: `10/10` and not `1/1`.
            text = f"{_header(ledgers)}{form} 99/9\n"
            try:
                print_thread(publication_in(text, path, "thread"), library)
            except TemplateError:
                continue
            return form
        return ""

    return fits


def _posts(root: Path, ledger: Ledger, fits: Fits) -> Iterator[str]:
    charts = charts_of_report(root, ledger)

    def with_chart(post: str) -> str:
        """The post with the first chart that none has yet of an experiment that it names."""
        for chart in charts:
            name = f"{ledger.slug}.{chart}"
            if f"{name.rpartition('.')[0]}." in post:
                charts.remove(chart)
                return f'{post}\n\n{{{{ chart("{name}") }}}}'
        return post

    yield from map(with_chart, _headline(ledger, fits))
    for id, claim in ledger.spec.claims.items():
        verdict = verdict_of(ledger, id, ledger.primary).verdict
        if verdict in ASSERTED and (post := fits(list(_claim_forms(ledger, id, claim)))):
            yield with_chart(post)
    untested = [assumption for assumption in ledger.spec.assumptions if not assumption.stressed_by]
    if post := fits([f"Not tested here: {said(unwrapped(a.text))}" for a in untested]):
        yield post
    yield f"Report, notebook and data: <investigations/{ledger.slug}/>"


def _headline(ledger: Ledger, fits: Fits) -> Iterator[str]:
    """The headline in one post, else in as many as it has sentences."""
    headline = with_slug(unwrapped(ledger.spec.headline), ledger) or said(unwrapped(ledger.spec.question))
    if whole := fits([headline]):
        yield whole
        return
    waiting = ""
    for sentence in _SENTENCE_END.split(headline):
        if longer := fits([f"{waiting} {sentence}".strip()]):
            waiting = longer
            continue
        yield from filter(None, [waiting])
        waiting = fits([sentence])
    yield from filter(None, [waiting])


def _claim_forms(ledger: Ledger, id: str, claim: Claim) -> Iterator[str]:
    """A claim as a post, from the fullest form to the barest."""
    sentence = said(unwrapped(claim.says or claim.holds))
    tag = f'{{% claim "{ledger.slug}.{id}" %}}{sentence}{{% endclaim %}}'
    numbers = _with_controls(ledger, parse(claim.holds).names[:NUMBERS])
    several = len({name.rpartition(".")[0] for name in numbers}) > 1
    for spelled in (_with_interval, _value):
        lines = [
            f"- {_words(name, measurement, several)}: {spelled(f'{ledger.slug}.{name}', measurement)}"
            for name, measurement in numbers.items()
        ]
        yield "\n\n".join(filter(None, [tag, "\n".join(lines)]))
    yield tag


Spelled = Callable[[str, Measurement], str]


def _with_controls(ledger: Ledger, names: Sequence[str]) -> dict[str, Measurement]:
    """The numbers that a claim names, and behind each its control."""
    found: dict[str, Measurement] = {}
    for name in names:
        measurement, entry = ledger.number(name)
        if measurement is None:
            continue
        found.setdefault(name, measurement)
        control = entry.measurements.get(measurement.control)
        if control is not None:
            found.setdefault(f"{name.rpartition('.')[0]}.{control.name}", control)
    return found


def _value(name: str, measurement: Measurement) -> str:
    return f'{{{{ number("{name}") }}}}'


def _with_interval(name: str, measurement: Measurement) -> str:
    if measurement.low is None or measurement.exact:
        return _value(name, measurement)
    return f'{_value(name, measurement)} (95 % CI {{{{ number("{name}").interval }}}})'


def _words(name: str, measurement: Measurement, with_experiment: bool) -> str:
    """`pw mcc` of `seeds_mid.pw_mcc`; `pw mcc (seeds mid)` beside one of another experiment."""
    experiment, _, last = name.replace("_", " ").rpartition(".")
    role = "control, " if measurement.role == "control" else ""
    return f"{role}{last} ({experiment})" if with_experiment else f"{role}{last}"
