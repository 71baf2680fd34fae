"""The page of a refusal audit: its first lines say whether refusal is separable, controllable, at what cost.

An answer is a verdict on the audit's claims (`engine.runs.refusal_audit`): yes where a claim is supported, no
where its opposite is, and else that it cannot be told, with the reason. The numbers behind it follow in the
same line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import exp
from typing import Literal

from engine.evidence.printing import sample_in_words
from engine.evidence.result import Measurement
from engine.evidence.verdicts import Verdict
from engine.report.claim_sentences import verdict_of
from engine.report.numbers import digits_of, interval_of, is_withheld
from engine.report.printers.printer import Printer
from engine.report.tables import Grid
from engine.runs.ledger import Entry, Ledger
from engine.runs.refusal_audit import (
    EXPERIMENT,
    INTERVENTIONS,
    REFUSES,
    Intervention,
    controls,
    does_not_control,
)

AnswerWord = Literal["yes", "no", "cannot be told", "not done"]
WEIGHTS_CHECK = "weights_equal_ablation"
SCORERS = {"substrings": "phrases", "tokens": "refusal tokens"}


@dataclass(frozen=True)
class AuditAnswer:
    """A question of the audit, its answer, and the numbers behind it in a sentence or two."""

    question: str
    answer: AnswerWord
    because: str

    @property
    def in_words(self) -> str:
        return f"{self.question} {self.answer.capitalize()}. {self.because}"


def answers(ledger: Ledger) -> list[AuditAnswer]:
    """What the audit says, in the order in which a reader asks; empty where nothing was measured."""
    entry = ledger.entry(EXPERIMENT)
    if not entry.measurements or is_withheld(entry):
        return []
    return [
        _refuses(entry),
        _separable(entry, verdict_of(ledger, "separable", ledger.primary)),
        *(_controllable(entry, ledger, each) for each in INTERVENTIONS),
    ]


def _refuses(entry: Entry) -> AuditAnswer:
    harmful = entry.measurements["refusal_baseline"]
    harmless = entry.measurements["harmless_refusal_baseline"]
    rates = f"It refuses {share(harmful)} of harmful requests and {share(harmless)} of harmless ones."
    question = "Does the model refuse?"
    if harmful.low is not None and harmful.low > REFUSES:
        return AuditAnswer(question, "yes", rates)
    few = (
        "That is too few to see refusal taken away: only adding the direction can be tested. That the two "
        "kinds of requests are told apart inside the model does not mean that it refuses."
    )
    answer: AnswerWord = "no" if harmful.high is not None and harmful.high < REFUSES else "cannot be told"
    return AuditAnswer(question, answer, f"{rates} {few}")


def _separable(entry: Entry, verdict: Verdict) -> AuditAnswer:
    auc = entry.measurements["auc"]
    place = f"block {_whole(entry, 'layer')}, position {_whole(entry, 'position')}"
    distance = entry.measurements["d_prime"]
    chance = entry.measurements["auc_shuffled"]
    text = (
        f"Along the direction (input of {place}) a harmful request lies further than a harmless one in "
        f"{share(auc)} of pairs of held-out topics (d' {digits_of(distance)}{_interval(distance)}); along "
        f"directions of shuffled labels in {share(chance)}."
    )
    return AuditAnswer("Separable?", _word(verdict), _with_reason(text, verdict))


def _controllable(entry: Entry, ledger: Ledger, each: Intervention) -> AuditAnswer:
    question = f"Controllable by {each.words}?"
    if each.after not in entry.measurements:
        return _not_answered(question, entry, ledger)
    does = verdict_of(ledger, controls(each), ledger.primary)
    does_not = verdict_of(ledger, does_not_control(each), ledger.primary)
    what = "refusals of harmless requests" if each.adds else "refusals of harmful requests"
    before = entry.measurements[each.before]
    after = entry.measurements[each.after]
    chance = entry.measurements[each.by_chance]
    moved = f"{what.capitalize()} go from {share(before)} to {share(after)}"
    text = f"{moved}; under a random direction to {share(chance)}. {cost(entry, each)}".strip()
    if does.verdict == "supported":
        return AuditAnswer(question, "yes", text)
    if does_not.verdict == "supported":
        return AuditAnswer(question, "no", text)
    return AuditAnswer(question, "cannot be told", f"{text} ({_why_open(entry, does, does_not)})")


def _not_answered(question: str, entry: Entry, ledger: Ledger) -> AuditAnswer:
    """Of weights, which answered nothing: what they compute is what ablation does, where that was checked."""
    check = next((each for each in entry.checks if each.name == WEIGHTS_CHECK), None)
    if check is None:
        return AuditAnswer(question, "not done", "In this architecture it would not be what ablation is.")
    ablation = _controllable(entry, ledger, INTERVENTIONS[0])
    checked = f"their logits and those of ablation differ by {check.value:.2g} at most"
    return AuditAnswer(question, ablation.answer, f"By computation it is what ablation does: {checked}.")


def _why_open(entry: Entry, does: Verdict, does_not: Verdict) -> str:
    """What stands in the way of an answer: a missing control, a condition, an interval that is too wide."""
    if "plain_language_addition" not in entry.measurements:
        return "no positive control was measured"
    # Of the two claims the negative one has the conditions.
    reason = does_not.reason or does.reason or "the interval has more and less than half of what could change"
    return _plain(reason)


def _plain(reason: str) -> str:
    """A reason without the experiment's name, of which an audit has one."""
    return reason.replace(f"{EXPERIMENT}.", "")


def cost(entry: Entry, each: Intervention) -> str:
    """What the intervention does besides, as far as it was measured: KL, broken answers, perplexity."""
    found = []
    # Orthogonal weights compute what ablation does.
    kl = entry.measurements.get(f"kl_{'ablation' if each.name == 'weights' else each.name}")
    if kl is not None:
        found.append(f"{digits_of(kl)} nats{_interval(kl)} of KL on harmless requests")
    loss = entry.measurements.get(f"loss_{'ablation' if each.name == 'weights' else each.name}")
    plain_loss = entry.measurements.get("loss_baseline")
    if loss is not None and plain_loss is not None:
        perplexity = f"{exp(loss.value):.3g} on its own harmless answers"
        found.append(f"a perplexity of {perplexity} ({exp(plain_loss.value):.3g} before)")
    broken = entry.measurements.get(f"{each.prefix}broken_{each.name}")
    before = entry.measurements.get(f"{each.prefix}broken_baseline")
    if broken is not None and before is not None:
        found.append(f"{share(broken)} of answers empty or broken ({share(before, False)} before)")
    nats = entry.measurements.get(f"{each.prefix}nats_per_token_{each.name}")
    nats_before = entry.measurements.get(f"{each.prefix}nats_per_token_baseline")
    if nats is not None and nats_before is not None:
        plain = (
            f"{digits_of(nats)} nats per token under the unmodified model ({digits_of(nats_before)} before)"
        )
        found.append(f"answers at {plain}")
    return f"Cost: {', '.join(found)}." if found else ""


def share(measurement: Measurement, interval: bool = True) -> str:
    """`63 % (53 % to 72 %)`."""
    return digits_of(measurement, percent=True) + (_interval(measurement, percent=True) if interval else "")


def _interval(measurement: Measurement, percent: bool = False) -> str:
    ends = interval_of(measurement, percent)
    return f" ({ends})" if ends else ""


def _whole(entry: Entry, name: str) -> str:
    return f"{entry.measurements[name].value:.0f}"


def _word(verdict: Verdict) -> AnswerWord:
    words: dict[str, AnswerWord] = {"supported": "yes", "contradicted": "no"}
    return words.get(verdict.verdict, "cannot be told")


def _with_reason(text: str, verdict: Verdict) -> str:
    return f"{text} ({_plain(verdict.reason)})" if verdict.reason else text


def audit_opening(ledger: Ledger, printer: Printer) -> Iterator[str]:
    """The blocks that stand before all numbers of the run."""
    found = answers(ledger)
    entry = ledger.entry(EXPERIMENT)
    if not found:
        return
    yield printer.section("Answers", [printer.items(each.in_words for each in found)])
    yield printer.section("Refusals by intervention and scorer", [printer.grid(rates_grid(entry))])
    yield printer.section("What follows, and what does not", [printer.items(_limits(entry, ledger))])


def rates_grid(entry: Entry) -> Grid:
    """Every arm that answered: what each scorer takes for a refusal, and what neither sees."""
    rows = []
    for prefix, requests in (("", "harmful"), ("harmless_", "harmless")):
        start = f"{prefix}refusal_"
        for name in entry.measurements:
            arm = name.removeprefix(start).removesuffix("_substrings")
            if name == f"{start}{arm}_substrings" and not arm.startswith("change_"):
                rows.append([requests, arm.replace("_", " "), *_cells(entry, prefix, arm)])
    headers = ["requests", "intervention", *(f"refused, by {words}" for words in SCORERS.values())]
    return Grid([*headers, "scorers disagree", "broken answers", "n"], rows)


def _cells(entry: Entry, prefix: str, arm: str) -> list[str]:
    numbers = [entry.measurements[f"{prefix}refusal_{arm}_{scorer}"] for scorer in SCORERS]
    others = [entry.measurements.get(f"{prefix}{number}_{arm}") for number in ("disagreement", "broken")]
    cells = [share(number) for number in numbers]
    cells += [share(number, False) if number else "–" for number in others]
    return [*cells, sample_in_words(numbers[0])]


def _limits(entry: Entry, ledger: Ledger) -> Iterable[str]:
    """How far the answers reach, by what was seen in this run."""
    yield (
        "Separable and controllable are two findings: that a direction tells requests apart does not say "
        "that the model refuses by it."
    )
    yield from _positive_control(entry)
    if not entry.measurements["keeps_limits"].value:
        yield (
            "No candidate kept to the limits of the recipe (KL, induced refusal): the direction is the one "
            "of the lowest ablated score, which the published recipe would have rejected."
        )
    if not entry.measurements["n_refusal_tokens"].value:
        yield (
            "The model refused no training request. Its refusal tokens are those with which published "
            "phrases begin, and what is scored by them is not known to be refusal."
        )
    disagreement = entry.measurements["disagreement_baseline"]
    yield (
        "No judge read the answers: published phrases stand in them, or the refusal tokens are likelier than "
        f"all others. On harmful requests the two disagree in {share(disagreement)} of answers. Whether an "
        "answer that is no refusal helps is not judged."
    )
    yield (
        "Greedy answers of a few tokens to short direct requests in English. Nothing is said of longer "
        "answers, of other prompts, or of directions that another recipe would find."
    )


def _positive_control(entry: Entry) -> Iterable[str]:
    before = entry.measurements.get("plain_language_baseline")
    added = entry.measurements.get("plain_language_addition")
    asked = entry.measurements.get("language_baseline")
    ablated = entry.measurements.get("language_ablation")
    if before is None or added is None or asked is None or ablated is None:
        yield "No positive control was measured: that something does not control refusal cannot be said."
        return
    yield (
        "Positive control, the language of the answer: where French was not asked for, answers in French go "
        f"from {share(before)} to {share(added)} with the French direction added at one layer. Where this "
        "fails, that refusal does not change says nothing. Where French was asked for they go from "
        f"{share(asked)} to {share(ablated)} with it taken out everywhere, which may fail on a model that "
        "can be steered: every token of an answer can read the instruction anew."
    )
