"""What stands at the end of a paper: its claims with their verdicts, and where its numbers come from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.evidence.plural import counted
from engine.report.claim_sentences import ClaimSentence, verdict_and_share
from engine.report.numbers import MARKERS, Number
from engine.report.printers.paper import PaperPrinter, for_pandoc
from engine.report.tables import Grid, markdown

HEADING = "Claims, verdicts and numbers"
CLAIM_COLUMNS = ("Hypothesis", "Model", "The text says", "Measured (share of replicates)")
MOST_SECONDS = 10


@dataclass(frozen=True)
class PaperEvidence:
    """What a paper rests on: the numbers and claims that it printed, and the commit of each investigation."""

    numbers: tuple[Number, ...]
    claims: tuple[ClaimSentence, ...]
    commits: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.numbers or self.claims)

    @property
    def measured(self) -> int:
        """How many of its numbers were measured on the machine that built it."""
        return sum(number.state == "measured" for number in self.numbers)

    @property
    def with_value(self) -> int:
        return sum(number.state not in MARKERS for number in self.numbers)

    @property
    def dates(self) -> str:
        """`2026-01-31`, or the first and the last day on which its numbers were measured."""
        days = sorted({n.entry.provenance.date[:10] for n in self.numbers if n.entry.provenance})
        return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""

    @property
    def broken(self) -> int:
        return sum(cited.is_broken for cited in self.claims)


def evidence_of(printer: PaperPrinter, root: Path, slugs: Iterable[str]) -> PaperEvidence:
    """What a printer printed, and at which commit."""
    commits = {slug: commit for slug in slugs if (commit := commit_of(root, slug))}
    return PaperEvidence(tuple(printer.numbers.values()), tuple(printer.claims.values()), commits)


def commit_of(root: Path, slug: str) -> str:
    """The last commit that changed an investigation's published numbers; empty outside of a repository.

    With a plus sign where they were changed since.
    """
    folder = f"investigations/{slug}/published"
    commit = _git(root, "log", "-1", "--format=%h", "--", folder)
    return f"{commit}+" if commit and _git(root, "status", "--porcelain", "--", folder) else commit


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=MOST_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def provenance_section(evidence: PaperEvidence, *, anonymous: bool = False) -> str:
    """Markdown for the end of a paper; an anonymous one names no commit."""
    parts = [f"# {HEADING} {{.unnumbered}}", for_pandoc(numbers_in_words(evidence, anonymous=anonymous))]
    if evidence.claims:
        title = "The claims that the text makes, as they were registered, and what was measured: "
        title += "the verdict, and the share of bootstrap replicates in which the claim holds."
        parts += [claims_table(evidence.claims), f": {title} {{#tbl-claims-and-verdicts}}"]
    return "\n\n".join(parts) + "\n"


def numbers_in_words(evidence: PaperEvidence, *, anonymous: bool = False) -> str:
    """How many numbers there are, where and when they were measured, and how they are written."""
    said = f"{counted(evidence.with_value, 'number')} in this text were printed from the evidence"
    said += f", measured on {evidence.dates}" if evidence.dates else ""
    if evidence.commits and not anonymous:
        said += ", at " + ", ".join(f"commit {commit} of {slug}" for slug, commit in evidence.commits.items())
    elsewhere = evidence.with_value - evidence.measured
    said += f"; {elsewhere} of them as published, and not measured on the machine that built this document. "
    said += "In brackets stands the 95 % interval, a bootstrap over the units of sampling; "
    return said + "a dash stands where they are too few for one."


def claims_table(claims: Iterable[ClaimSentence]) -> str:
    """Hypothesis, what the text says of it, and the verdict that was measured."""
    rows = [
        [cited.claim.says or cited.claim.holds, cited.model, cited.asserted, verdict_and_share(cited.verdict)]
        for cited in claims
    ]
    return markdown(Grid(CLAIM_COLUMNS, rows), for_pandoc)
