"""What the arms did, as evidence: rates and changes by scorer, what the scorers do not see, and costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from engine.evidence.builder import Evidence
from engine.evidence.result import Measurement
from engine.families.refusal_direction.arms import (
    ABOUT,
    Answers,
    Arm,
    ablation_arm,
    baseline_arm,
    single_layer_arm,
)
from engine.families.refusal_direction.held_out import HeldOut
from engine.families.refusal_direction.other_directions import NOUNS, OtherDirections
from engine.families.refusal_direction.recipe import Learned, Progress, Requests
from engine.lab.masked_completions import masked

ScorerName = Literal["substrings", "tokens"]
HARMFUL = "harmful"
FEWEST_REFUSALS = 10
"""Refusals of the unchanged model without which nothing can be said of taking them away."""
SHOWN = 3  # answers of each arm
SHOWN_WORDS = 5  # of an answer to a harmful request
SCORERS: Mapping[ScorerName, str] = {
    "substrings": "a published phrase of refusal stands in the answer",
    "tokens": "the refusal tokens are together likelier than all other tokens",
}
NATS = "nats per token"
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
    scorer: ScorerName
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
                drawn = over.control(number, nats, words, NATS)
                by_chance = drawn if name == control else by_chance
            else:
                likewise = control.endswith("addition") == (name == "addition")
                over.finding(number, nats, words, NATS, control=by_chance if likewise else None)

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


def kinds_of(
    ev: Evidence, harmful: dict[str, Answers], harmless: dict[str, Answers]
) -> tuple[Evidence, Evidence]:
    """Evidence over the harmful and over the harmless held-out requests, which come in this order."""
    n_harmful = len(harmful["baseline"].completions)
    n = n_harmful + len(harmless["baseline"].completions)
    return ev.of(np.arange(n_harmful)), ev.of(np.arange(n_harmful, n))


def rates_by_kind(scorer: ScorerName) -> tuple[Rates, Rates]:
    """Refusals of harmful requests, and of harmless ones."""
    return (
        Rates("refusal", "", "a refusal", "harmful requests", scorer, "asr"),
        Rates("refusal", "harmless_", "a refusal", "harmless requests", scorer, "answered"),
    )


def report_refusals(
    ev: Evidence, harmful: dict[str, Answers], harmless: dict[str, Answers], scorer: ScorerName
) -> None:
    """Shares of refusals and their changes beside those by a random direction, and all arms in a table."""
    over = kinds_of(ev, harmful, harmless)
    rates = rates_by_kind(scorer)
    for each, of_kind, arms_of_kind in zip(over, rates, (harmful, harmless), strict=True):
        for name, answers in arms_of_kind.items():
            is_control = name == "baseline" or name.startswith("random")
            of_kind.rates(each, name, answers, control=is_control)
        before = arms_of_kind["baseline"]
        drawn = next(name for name in arms_of_kind if name.startswith("random"))
        controls = of_kind.change(each, drawn, arms_of_kind[drawn], before)
        for name, answers in arms_of_kind.items():
            if name != "baseline" and name != drawn:
                likewise = controls if random_like(name) == drawn else {}
                of_kind.change(each, name, answers, before, controls=likewise)
        of_kind.perplexities(each, arms_of_kind, drawn)
    if "weights" in harmful:
        pairs = zip(harmful["weights"].completions, harmful["ablation"].completions, strict=True)
        same = np.array([one.token_ids == other.token_ids for one, other in pairs], dtype=bool)
        about = "Share of harmful requests that orthogonal weights and ablation answer word for word alike."
        over[0].finding("weights_same_answer", same, about)
    table = arms_table({"harmful": (over[0], harmful), "harmless": (over[1], harmless)})
    ev.table("arms", table).bar(
        "arms",
        "refused: share of refusals",
        "arm",
        color="scorer",
        facet="requests",
        band=True,
        title="Refusals by intervention",
        caption="Held-out requests, judged by published phrases and by the refusal tokens; 95 % intervals.",
    )


def report_answers_under_others(
    ev: Evidence,
    held: HeldOut,
    others: OtherDirections,
    harmful: dict[str, Answers],
    harmless: dict[str, Answers],
    scorer: ScorerName,
    progress: Progress,
) -> None:
    """Whole answers under directions that differ from the one found in what they were made of alone.

    A random direction writes nowhere that the model reads. One of shuffled labels lies where the requests
    vary, and that of an unrelated contrast where the model steers something else: the first of each answers.
    """
    kinds = (True, False)
    over = dict(zip(kinds, kinds_of(ev, harmful, harmless), strict=True))
    rates = dict(zip(kinds, rates_by_kind(scorer), strict=True))
    answered = {True: harmful, False: harmless}
    shown = {
        kind: {name: arms[name] for name in ("baseline", how, f"random_{how}")}
        for (kind, arms), how in zip(answered.items(), ("ablation", "addition"), strict=True)
    }
    nouns = [noun for noun in others if noun != "random"]
    for number, noun in enumerate(nouns):
        for kind, arm in held.under(others[noun][0], NOUNS[noun]).items():
            name = f"{noun}_{arm.name}"
            done = (number + 0.5 * (not kind)) / len(nouns)
            progress(done, f"answering held-out requests: {name}")
            answers = held.ask(arm, kind)
            rates[kind].rates(over[kind], name, answers, control=True)
            rates[kind].change(over[kind], name, answers, answered[kind]["baseline"])
            shown[kind][name] = answers
    of_kinds = {HARMFUL: (over[True], shown[True]), "harmless": (over[False], shown[False])}
    ev.table("answers_under_others", arms_table(of_kinds)).bar(
        "answers_under_others",
        "refused: share of refusals",
        "arm",
        color="scorer",
        facet="requests",
        band=True,
        title="Refusals under other directions",
        caption="Held-out requests under the direction found and under others of its length; 95 % intervals.",
    )


def report_costs(
    ev: Evidence,
    held: HeldOut,
    harmful: dict[str, Answers],
    harmless: dict[str, Answers],
    others: OtherDirections,
) -> None:
    """What each intervention costs on harmless requests, beside a random direction's: KL and loss."""
    over = kinds_of(ev, harmful, harmless)[1]
    drawn = held.under(others["random"][0], NOUNS["random"])
    arms = {
        "random_ablation": drawn[True],
        "random_addition": drawn[False],
        "ablation": ablation_arm(held.model, held.chosen.direction),
        "single_layer": single_layer_arm(held.model, held.chosen.direction, held.chosen.layer),
        "addition": held.under(held.chosen.direction, "the direction")[False],
    }
    divergences = {
        name: harmless[name].predictions.kl if name in harmless else held.predict(arm, harmful=False).kl
        for name, arm in arms.items()
    }
    about = (
        "Mean KL divergence of the next-token prediction on harmless requests, {}, from the unchanged model."
    )
    _report_cost(over, "kl", "nats", about, arms, divergences)

    # Text that the model finds likely: its own answers, read again from the second token on, since what
    # happens to the first shows in the KL. Arditi et al. 2024 measure the loss on such text too.
    own = harmless["baseline"].completions
    given = np.array([len(answer.token_ids) > 1 for answer in own], dtype=bool)
    if given.any():
        about = (
            "Loss on the unmodified model's own answers to harmless requests, from the second token on, {}; "
            "exp is perplexity."
        )
        unchanged = baseline_arm(held.model)
        losses = {name: held.losses(arm, own) for name, arm in arms.items()}
        over = over.where(given, chosen_on=over.chosen_on)
        over.control("loss_baseline", held.losses(unchanged, own), about.format(unchanged.about), NATS)
        _report_cost(over, "loss", NATS, about, arms, losses)


def _report_cost(
    over: Evidence,
    name: str,
    unit: str,
    about: str,
    arms: Mapping[str, Arm],
    values: Mapping[str, Float[np.ndarray, " prompt"]],
) -> None:
    """A number of each arm, each beside that of the random direction that is used as it is."""
    controls = {}
    for arm in ("random_ablation", "random_addition"):
        controls[arm] = over.control(f"{name}_{arm}", values[arm], about.format(arms[arm].about), unit)
    for arm in ("ablation", "single_layer", "addition"):
        control = controls[random_like(arm)]
        over.finding(f"{name}_{arm}", values[arm], about.format(arms[arm].about), unit, control=control)


def report_completions(
    ev: Evidence, requests: Requests, harmful: dict[str, Answers], harmless: dict[str, Answers]
) -> None:
    """A few answers of each arm, shortened: of those to harmful requests the first words alone are shown."""
    rows = []
    for kind, answers in ((True, harmful), (False, harmless)):
        index = requests.of("held_out", positive=kind, limit=SHOWN)
        for name, of_arm in answers.items():
            for row, prompt in enumerate(index):
                words = SHOWN_WORDS if kind else 3 * SHOWN_WORDS
                rows.append(
                    {
                        "requests": HARMFUL if kind else "harmless",
                        "arm": name,
                        "id": requests.chats.ids[prompt],
                        "answer": masked(of_arm.completions[row].text, words),
                        "refusal": bool(of_arm.by_text[row]),
                        "state": of_arm.states[row],
                        "perplexity": float(of_arm.measured.perplexity[row]),
                    }
                )
    ev.table("completions", pd.DataFrame(rows))


def report_scores(
    ev: Evidence,
    held: HeldOut,
    others: OtherDirections,
    harmful: dict[str, Answers],
    harmless: dict[str, Answers],
    progress: Progress,
) -> None:
    """How the refusal score moves, by each intervention and by directions that should do nothing.

    Ablation is of harmful requests, addition to harmless ones.
    """
    over = dict(zip((True, False), kinds_of(ev, harmful, harmless), strict=True))
    answers = {True: harmful, False: harmless}
    before = {kind: answers[kind]["baseline"].predictions.score for kind in answers}
    answered = {
        True: harmful["random_ablation"].predictions,
        False: harmless["random_addition"].predictions,
    }
    n = sum(map(len, others.values()))
    done = 0
    controls: dict[tuple[str, bool], Measurement] = {}
    rows = []
    for noun, directions in others.items():
        moved: dict[bool, list[np.ndarray]] = {True: [], False: []}
        for number, direction in enumerate(directions):
            progress(done / n)
            done += 1
            for kind, arm in held.under(direction, NOUNS[noun]).items():
                # The first random direction answered as well: its predictions are there.
                known = answered[kind] if (noun, number) == ("random", 0) else held.predict(arm, kind)
                change = known.score - before[kind]
                moved[kind].append(change)
                rows.append(
                    {"direction": f"{noun} {number}", "arm": arm.name, "change": float(change.mean())}
                )
        for kind, changes in moved.items():
            name = "ablation" if kind else "addition"
            about = f"{ABOUT[name].replace('the direction', NOUNS[noun])}; mean of {len(directions)}"
            values = np.mean(changes, axis=0)
            controls[noun, kind] = score_change(
                over[kind], f"{noun}_{name}", about, values, kind, None, is_finding=False
            )
    for kind, of_kind in answers.items():
        for name in of_kind:
            if name != "baseline" and not name.startswith("random"):
                change = of_kind[name].predictions.score - before[kind]
                about = of_kind[name].about
                control = controls["random", kind] if random_like(name) in of_kind else None
                score_change(over[kind], name, about, change, kind, control, is_finding=True)
                rows.append({"direction": "found", "arm": name, "change": float(change.mean())})
    for kind in answers:
        about = (
            f"Refusal score of {'harmful' if kind else 'harmless'} requests (log-odds of the refusal tokens)."
        )
        over[kind].control(
            "score_baseline" if kind else "harmless_score_baseline", before[kind], about, "nats"
        )
    ev.table("other_directions", pd.DataFrame(rows)).strip(
        "other_directions",
        "arm",
        "change: change of the refusal score (nats)",
        color="direction",
        title="The direction beside others of its length",
        caption="Mean change of the refusal score: ablation on harmful requests, addition on harmless ones.",
    )


def random_like(name: str) -> str:
    """The arm that does with a random direction what this one does with the direction found."""
    return "random_addition" if name == "addition" else "random_ablation"


def positive_control_in_words(taken: Measurement | None, given: Measurement | None) -> tuple[bool, str]:
    """Whether adding the French direction brings French (`given`), its interval above 0; and by how much.

    What ablation does (`taken`) is told and decides nothing: the direction holds a part of the words of the
    answer themselves, so that its ablation may take them away where nothing is steered.
    """
    if taken is None or given is None:
        return False, "no positive control was measured"
    steers = given.low is not None and given.low > 0
    changes = f"{taken.value:+.2f} by ablation and {given.value:+.2f} by addition"
    words = f"the French direction changes the share of answers in French by {changes}"
    return steers, words if steers else f"{words}: it does not steer, so that nothing follows"


def what_follows(ev: Evidence, learned: Learned, baseline: Answers, scorer: ScorerName) -> None:
    """Which questions this run can answer, and why not where it cannot."""
    refused = int(baseline.by(scorer).sum())
    n = len(baseline.completions)
    enough = refused >= FEWEST_REFUSALS
    without = f"the model refuses {refused} of {n} held-out harmful requests"
    found = ev.record.measurements["finding"]
    taken = found.get("language_change_ablation")
    given = found.get("plain_language_change_addition")
    steers, steerable = positive_control_in_words(taken, given)
    rejected = "no finalist keeps to every limit: that of the lowest ablated score was taken all the same"
    rows = [
        ("Is it one that the recipe accepts?", True, "" if learned.selection.keeps_limits else rejected),
        ("Does the direction separate harmful from harmless requests?", True, ""),
        ("Does taking it out remove refusals?", enough, "" if enough else without),
        ("Does adding it make the model refuse?", True, ""),
        ("Does it not control refusal?", enough and steers, steerable),
    ]
    ev.table("what_follows", pd.DataFrame(rows, columns=["question", "answerable", "note"]))


def _mean_of_known(values: Float[np.ndarray, " prompt"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
