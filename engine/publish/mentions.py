"""What the pages on replication, published statements and families say of an investigation.

It is plain data and kept with the investigation's summary: an investigation that did not change is not read
for a build, and is listed all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.publish.replication_pages import ReplicationSummary, replication_summary
from engine.publish.statements_page import StatementSummary, statements_of
from engine.runs.ledger import Ledger


@dataclass(frozen=True)
class Mentions:
    """`families` has the experiments of each family that the investigation uses, by family."""

    replication: ReplicationSummary
    statements: Sequence[StatementSummary] = ()
    families: Mapping[str, Sequence[str]] = field(default_factory=dict)


def mentions_of(ledger: Ledger, folder: Path) -> dict[str, Any]:
    """The mentions of an investigation as plain data; `folder` is its own."""
    families: dict[str, list[str]] = {}
    for name, experiment in ledger.spec.experiments.items():
        families.setdefault(experiment.family, []).append(name)
    return asdict(Mentions(replication_summary(ledger), statements_of(ledger, folder), families))


def mentions_from(data: Mapping[str, Any]) -> Mentions:
    """The same from plain data."""
    statements = [StatementSummary(**statement) for statement in data["statements"]]
    return Mentions(ReplicationSummary(**data["replication"]), statements, data["families"])


def users_of(
    families: Iterable[str], mentions: Mapping[str, Mentions]
) -> dict[str, list[tuple[str, str, int]]]:
    """(slug, title, how many experiments) of each investigation that uses a family, by family."""
    return {
        family: [
            (slug, each.replication.title, len(each.families[family]))
            for slug, each in mentions.items()
            if family in each.families
        ]
        for family in families
    }
