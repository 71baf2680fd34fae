"""A claim beside what the evidence says of it, as a notebook reads it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import pandas as pd

from engine.evidence.verdicts import Verdict
from engine.runs.interactive.frames import specification_frame
from engine.spec.models import Claim


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim of a spec and its verdict on one model.

    `claim` is what the spec says of it (`holds`, `requires`, `valid_if`, `registered`), `verdict` what was
    decided, with the share of replicates on which the predicate holds and the reason where there is one.
    """

    id: str
    model: str
    claim: Claim
    verdict: Verdict

    @property
    def says(self) -> str:
        """The claim in words."""
        return self.claim.says or self.id

    @property
    def holds(self) -> str:
        """The predicate that was registered."""
        return self.claim.holds

    @property
    def specifications(self) -> pd.DataFrame:
        """A row for each set of choices that the claim was judged under; empty where it names none."""
        return specification_frame(self.verdict.specifications)

    def __repr__(self) -> str:
        verdict = self.verdict
        share = f", holds in {verdict.share:.3%} of replicates" if verdict.share is not None else ""
        reason = f" ({verdict.reason})" if verdict.reason else ""
        mark = " [published]" if verdict.source == "published" else ""
        return f"{self.id} on {self.model}: {verdict.verdict}{share}{reason}{mark}\n{self.says}"

    def _repr_html_(self) -> str:
        first, _, says = repr(self).partition("\n")
        return f"<p>{escape(says)}<br><small>{escape(first)}<br><code>{escape(self.holds)}</code></small></p>"
