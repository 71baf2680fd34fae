"""What the arms did, as evidence: rates and changes by scorer, what the scorers do not see, and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from engine.evidence.builder import Evidence
from engine.evidence.result import Measurement
from engine.families.refusal_direction.arms import Answers
from engine.families.refusal_direction.recipe import Requests

SCORERS = {
    "substrings": "a published phrase of refusal stands in the answer",
    "tokens": "the refusal tokens are together likelier than all other tokens",
}
SHARE = (0.0, 1.0)
CHANGE = (-1.0, 1.0)


def evidence_over(requests: Requests, index: np.ndarray, record: Evidence | None = None) -> Evidence:
    """Evidence over some requests, clustered as the prompt set says, beside what `record` has gathered."""
    column = requests.chats.cluster_column
    over = Evidence(
        "prompt",
        requests.chats.ids[index],
        groups=requests.chats.clusters[index] if column else None,
        group_unit=column,
        chosen_on=requests.split.in_words,
    )
    return over if record is None else replace(over, record=record.record)


@dataclass(frozen=True)
class AnswerChange:
    """Requests of which the answer shows a behaviour only afterwards, and those of which it did only before.

    The change of the share is the share of the one less that of the other (McNemar 1947): requests on which
    nothing changed have no part in how uncertain it is.
    """

    gained: Bool[np.ndarray, " prompt"]
    lost: Bool[np.ndarray, " prompt"]


def changed(after: Bool[np.ndarray, " prompt"], before: Bool[np.ndarray, " prompt"]) -> AnswerChange:
    return AnswerChange(after & ~before, before & ~after)


@dataclass(frozen=True)
class Rates:
    """Names and words of one behaviour over one kind of requests.

    `prefix` comes before the names of measurements, `noun` is what counts ("refusals"), `requests` what it is
    counted over ("harmful requests"). `answered` is what the share of answers is called.
    """

    behaviour: str
    prefix: str
    noun: str
    requests: str
    scorer: str
    answered: str

    def name(self, number: str, arm: str, scorer: str = "") -> str:
        return "_".join(filter(None, (f"{self.prefix}{number}", arm, scorer)))

    def rates(self, ev: Evidence, arm: str, answers: Answers, *, control: bool = False) -> None:
        """Each scorer's share, that of the chosen scorer once more under a name without it, where the two
        disagree, and what neither sees."""
        about = f"Share of {self.requests} with {self.noun}, {answers.about}: {{}}."
        add = ev.control if control else ev.finding
        for scorer, means in {**SCORERS, "": SCORERS[self.scorer]}.items():
            values = answers.by(scorer or self.scorer)
            add(self.name(self.behaviour, arm, scorer), values, about.format(means))
        about = f"Share of {self.requests} on which the two scorers disagree, {answers.about}."
        add(self.name("disagreement", arm), answers.by_text != answers.by_tokens, about)
        about = f"Share of {self.requests} whose answer is empty or broken, {answers.about}."
        add(self.name("broken", arm), answers.are("empty", "broken"), about)
        about = f"Share of {self.requests} whose answer suits another one as well, {answers.about}."
        add(self.name("off_topic", arm), answers.are("off topic"), about)
        about = f"Share of {self.requests} whose answer is coherent and no refusal, {answers.about}."
        add(self.name(self.answered, arm), ~answers.by_text & answers.are("coherent"), about)

    def perplexities(self, ev: Evidence, arms: Mapping[str, Answers], control: str) -> None:
        """Nats per token of each arm's answers under the unmodified model, beside those of the control."""
        about = f"Nats per token, under the unmodified model, of the answers to {self.requests}, {{}}."
        by_chance = None
        for name in (control, *(name for name in arms if name not in ("baseline", control)), "baseline"):
            nats = arms[name].measured.nats_per_token
            given = np.isfinite(nats)
            if not given.any():
                continue
            over = ev.where(given, chosen_on=ev.chosen_on)
            words = about.format(arms[name].about)
            number = self.name("nats_per_token", name)
            if name in (control, "baseline"):
                drawn = over.control(number, nats, words, "nats per token")
                by_chance = drawn if name == control else by_chance
            else:
                likewise = control.endswith("addition") == (name == "addition")
                over.finding(number, nats, words, "nats per token", control=by_chance if likewise else None)

    def change(
        self,
        ev: Evidence,
        arm: str,
        answers: Answers,
        before: Answers,
        *,
        controls: Mapping[str, Measurement] | None = None,
    ) -> dict[str, Measurement]:
        """By how much the share changes, request by request, for each scorer; as controls where none are
        given. Those that were made come back by scorer."""
        found = {}
        for scorer in (*SCORERS, ""):
            by = scorer or self.scorer
            change = changed(answers.by(by), before.by(by))
            name = self.name(f"{self.behaviour}_change", arm, scorer)
            about = f"Change of the share of {self.requests} with {self.noun}, {answers.about}: "
            about += f"{SCORERS[by]}."
            if controls is None:
                found[scorer] = ev.control(name, change.gained, about, less=change.lost, bounds=CHANGE)
            else:
                control = controls.get(scorer)
                found[scorer] = ev.finding(
                    name, change.gained, about, less=change.lost, bounds=CHANGE, control=control
                )
        return found


def score_change(
    ev: Evidence,
    name: str,
    about: str,
    change: Float[np.ndarray, " prompt"],
    harmful: bool,
    control: Measurement | None,
    *,
    is_finding: bool,
) -> Measurement:
    """The mean change of the refusal score, in nats of log-odds."""
    kind = "harmful" if harmful else "harmless"
    name = f"score_change_{name}" if harmful else f"harmless_score_change_{name}"
    text = f"Change of the refusal score of {kind} requests (log-odds of the refusal tokens), {about}."
    if not is_finding:
        return ev.control(name, change, text, "nats")
    return ev.finding(name, change, text, "nats", control=control)


def arms_table(
    kinds: Mapping[str, tuple[Evidence, Mapping[str, Answers]]],
) -> pd.DataFrame:
    """A row for each kind of request, arm and scorer: the share with its interval."""
    rows = []
    for requests, (ev, arms) in kinds.items():
        for arm, answers in arms.items():
            for scorer in SCORERS:
                rate = ev.measured(arm, answers.by(scorer))
                rows.append(
                    {
                        "requests": requests,
                        "arm": arm,
                        "scorer": scorer,
                        "refused": rate.value,
                        "low": rate.low,
                        "high": rate.high,
                        "disagreement": float((answers.by_text != answers.by_tokens).mean()),
                        "broken": float(answers.are("empty", "broken").mean()),
                        "off_topic": float(answers.are("off topic").mean()),
                        "nats_per_token": _mean_of_known(answers.measured.nats_per_token),
                        "kl": float(answers.predictions.kl.mean()),
                        "n": len(answers.completions),
                    }
                )
    return pd.DataFrame(rows).astype({"low": float, "high": float})


def _mean_of_known(values: Float[np.ndarray, " prompt"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
