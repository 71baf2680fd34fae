"""Refusal direction: does one direction tell harmful requests from others, and does it control refusal?

1. Put the requests into the model's chat template and divide them by cluster (topic) into training, selection
   and held-out requests. Refusal tokens are the first tokens of the model's own greedy refusals on training
   requests. A refusal score is the log-odds of their summed probability at a prompt's last position (nats).
2. Leave out the training and selection requests that the model does not treat as their kind: harmful ones
   with a score of 0 or less, harmless ones with one above.
3. Candidates are the differences in means, harmful less harmless, at the input of every block and at every
   position of the template behind the request.
4. Select: reject a candidate that changes harmless requests when ablated (KL at the last position above
   `max_kl`), that induces no refusal when added (score below 0), or that lies at `max_depth` of the depth or
   beyond. Of the rest keep the one with which, ablated, the score on harmful requests is lowest.
5. Separability, on held-out requests: AUC and effect size d' of the projection on the direction, and by
   layer and position.
6. Controllability, on held-out requests, by generation: how the share of refusals changes, on harmful
   requests by ablation, by ablation at the one layer, and by weights made orthogonal; on harmless ones by
   addition. Refusals are judged twice, by published phrases and by the refusal tokens; what is no answer
   (empty, broken, off topic) is counted apart. Costs: refusals of harmless requests, KL, the loss
   on the model's own answers to them, and perplexity of the answers under the unmodified model.
7. Positive control: the language of the answer, which is known to be steerable, by a direction that is taken
   from the model's own answers (see `positive_control.py`), with the same edits on the same model. Where that
   fails too, nothing follows from a direction that does not control refusal.
8. Controls, by refusal score: random directions of the same length, directions of shuffled labels, and that
   of an unrelated contrast, the language of the answer. One of each kind answers as well.

Source: Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single Direction". Unit of sampling:
the request, in clusters of its topic. That a direction separates (5) and that it controls (6) are different
findings: neither implies the other.

Pitfalls:

- Phrases tell whether an answer sounds like a refusal, and not whether it helps (Souly et al. 2024, "A
  StrongREJECT for Empty Jailbreaks").
- A direction chosen on the requests that it is judged on looks better than it is (Kriegeskorte et al. 2009,
  "Circular Analysis in Systems Neuroscience").
- One direction that suffices need not be the only one: several independent ones may mediate refusal
  (Wollschläger et al. 2025, "The Geometry of Refusal in Large Language Models").
- A direction that separates requests need not be one that the model uses (Elazar et al. 2021, "Amnesic
  Probing").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from engine.data.chat import ChatPrompts
from engine.data.prompts import PromptSet
from engine.errors import SpecError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Result
from engine.families.refusal_direction.arms import Judge
from engine.families.refusal_direction.candidates import Limits
from engine.families.refusal_direction.findings import (
    HARMFUL,
    evidence_over,
    report_answers_under_others,
    report_completions,
    report_costs,
    report_refusals,
    report_scores,
    what_follows,
)
from engine.families.refusal_direction.held_out import AnswerSettings, HeldOut
from engine.families.refusal_direction.other_directions import as_long_as, other_directions
from engine.families.refusal_direction.positive_control import ControlSettings, positive_control
from engine.families.refusal_direction.recipe import Learned, Requests, Settings, learn, read_requests
from engine.families.refusal_direction.separability import separability
from engine.lab.answer_language import language_of
from engine.lab.completions import calibrate_coherence
from engine.lab.directions import Labels
from engine.lab.lab import Lab
from engine.lab.planted_gate import gate_lab
from engine.lab.profiles import known_answer
from engine.lab.refusals import phrase_tokens, refusal_tokens, says_refusal
from engine.lab.split import PARTS, Split, given_split, split_clusters
from engine.lab.steering_vectors import vector_array
from engine.models.generate import Completion, generate
from engine.models.sites import Site
from engine.spec.family_params import SeedParams
from engine.spec.inputs import CHAT, Inputs
from engine.spec.sites import RESID_PRE, resolve_site

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

CONTROL_LAYERS = 6  # of the positive control's candidates, at most
PART = "part"
"""A column in which a person says what each request is for; without it whole clusters are dealt out."""

inputs = Inputs(prompts=CHAT, prompt_parameters={"positive_control": CHAT})


class Params(SeedParams):
    layer: Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(selected|\d{1,3}%)$")] = "selected"
    """Where the direction is taken from: the block whose input it is, as a number or as a relative depth
    (`50%`). `selected` leaves it to the recipe; a layer that is named is not rejected for its depth."""
    position: Annotated[int, Field(le=-1)] | Literal["selected"] = "selected"
    """At which of the template's positions behind the request: -1 is the last. `selected` leaves it to the
    recipe."""
    scorer: Literal["substrings", "tokens"] = "substrings"
    """Which judge of refusal the numbers without a suffix are by: published phrases in the answer, or refusal
    tokens likelier than all others. Numbers with a suffix are given for both."""
    system: str = ""
    """A system text before every request; empty leaves it to the template, which may bring its own."""
    shares: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=3, max_length=3)] = [12, 4, 12]
    """How the clusters are divided: for training, for selection, held out."""
    filtered: bool = True
    """Leave out training and selection requests that the model does not treat as their kind."""
    max_kl: Annotated[float, Field(gt=0)] = 0.1
    """A candidate is rejected whose ablation moves the prediction on harmless requests further, in nats."""
    min_induced: float = 0.0
    """A candidate is rejected that, added to harmless requests, leaves their refusal score below this."""
    max_depth: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Candidates at this fraction of the depth or beyond are not considered."""
    screen_prompts: Annotated[int, Field(gt=0)] = 16
    """Selection requests of each kind on which all candidates are screened."""
    finalists: Annotated[int, Field(gt=0)] = 12
    """How many candidates are then scored on all selection requests."""
    coefficient: float = 1.0
    """How many times the direction is added: 1 moves the harmless mean onto the harmful one."""
    token_prompts: Annotated[int, Field(gt=0)] = 64
    """Training requests of each kind that are answered to find the refusal tokens."""
    max_new_tokens: Annotated[int, Field(gt=1)] = 32
    """Tokens of an answer."""
    batch_size: Annotated[int, Field(gt=0)] = 32
    """Requests that are answered together."""
    off_topic: bool = True
    """Tell answers that would suit another request as well, for which every answer is read twice."""
    weights: bool = True
    """Answer with orthogonal weights as well, which is a check of ablation more than another finding."""
    n_random: Annotated[int, Field(gt=0)] = 8
    """Random directions; the first one also answers, the others are judged by the refusal tokens."""
    n_shuffled: Annotated[int, Field(gt=0)] = 4
    """Directions of shuffled labels."""
    other_answers: bool = True
    """Answer under a direction of shuffled labels and under the unrelated one, too; else they are scored."""
    positive_control: str = "language"
    """The prompt set with a behaviour that is known to be steerable; empty: no positive control."""
    positive_control_prompts: Annotated[int, Field(gt=0)] = 32
    """Held-out requests of each kind that the positive control answers."""


def run(lab: Lab, params: Params) -> Result:
    """Separability and controllability of refusal by one direction, with costs and controls."""
    model = lab.model
    # 1. Requests in the chat template, divided by cluster; the refusal tokens.
    requests = read_requests(model, lab.chat(params.system), HARMFUL, divider(params))
    held_out = requests.both("held_out")
    ev = evidence_over(requests, held_out)
    count_requests(ev, requests)
    with lab.stage(0.04, "answering training requests for the refusal tokens"):
        training = answer_training_requests(model, requests, params)
        tokens = own_refusal_tokens(ev, model, training)

    # 2, 3, 4. Filter, take differences in means, select one.
    with lab.stage(0.42, "screening candidates") as progress:
        learned = learn(model, requests, tokens, recipe_settings(model.n_layers, requests, params), progress)
    describe_selection(ev, model.n_layers, requests, learned)
    positive = requests.positive[learned.train]
    others = other_directions(learned, positive, params.n_random, params.n_shuffled, params.seed)

    # 5. Separability on held-out requests.
    with lab.stage(0.46, "reading held-out requests"):
        separability(ev, model, requests, held_out, learned, others)

    # 6. Controllability on held-out requests, and what it costs.
    judge = refusal_judge(ev, model, training, params)
    told = AnswerSettings(params.coefficient, params.weights, params.max_new_tokens, params.batch_size)
    held = HeldOut.of(model, requests, learned.selection.chosen, tokens, judge, told)
    with lab.stage(0.77, "answering held-out requests") as progress:
        harmful, harmless = held.answers(others["random"][0], progress)
    report_refusals(ev, harmful, harmless, params.scorer)
    report_costs(ev, held, harmful, harmless, others)
    report_completions(ev, requests, harmful, harmless)
    if held.can_orthogonalize:
        # Whether or not they answered: what they compute is what ablation does.
        ev.check(held.weights_check())

    # 7. The positive control.
    if params.positive_control:
        with lab.stage(0.91, "steering the language of the answer") as progress:
            language = positive_control(
                ev,
                model,
                with_system(lab.further("positive_control"), params.system),
                in_french,
                divider(params),
                control_settings(model.n_layers, params),
                progress,
            )
        if language is not None:
            direction = as_long_as(learned.selection.chosen.direction, language.direction)
            others["unrelated"] = [direction]

    # 8. Controls by refusal score; a direction of shuffled labels and the unrelated one answer as well.
    with lab.stage(0.94, "scoring under other directions") as progress:
        report_scores(ev, held, others, harmful, harmless, progress)
    if params.other_answers:
        with lab.stage(1.0, "answering under other directions") as progress:
            report_answers_under_others(ev, held, others, harmful, harmless, params.scorer, progress)
    what_follows(ev, learned, harmful["baseline"], params.scorer)
    return ev.result()


def divider(params: Params) -> Callable[[ChatPrompts], Split]:
    """How requests are divided into parts: as their own column `part` says, else by whole clusters."""
    shares: dict[str, float] = dict(zip(PARTS, params.shares, strict=True))

    def divide(chats: ChatPrompts) -> Split:
        labels = chats.table["label"].astype(str).to_numpy(dtype=str)
        if PART in chats.table:
            parts = chats.table[PART].astype(str).to_numpy(dtype=str)
            return given_split(parts, chats.clusters, labels, column=chats.cluster_column)
        return split_clusters(chats.clusters, labels, shares, column=chats.cluster_column)

    return divide


def count_requests(ev: Evidence, requests: Requests) -> None:
    """How many requests there are of each kind in each part."""
    for part in PARTS:
        for label, n in requests.split.counts(part).items():
            about = f"{label.capitalize()} requests, {part.replace('_', ' ')}."
            ev.count(f"n_{label}_{part}", n, about)
    about = "Requests that are too long for the model, or of which its tokenizer leaves nothing."
    ev.count("n_dropped", len(requests.chats.dropped), about)
    about = "Positions that the template has behind every request: " + " ".join(map(repr, requests.template))
    ev.count("n_positions", requests.n_places, about, unit="position")


@dataclass(frozen=True)
class TrainingAnswers:
    """What the unchanged model answers to training requests: `harmful` says which of them are."""

    rows: list[list[int]]
    completions: list[Completion]
    harmful: Labels


def answer_training_requests(model: HookedModel, requests: Requests, params: Params) -> TrainingAnswers:
    """Greedy answers to training requests of both kinds."""
    limit = params.token_prompts
    index = np.concatenate([requests.of("train", positive=kind, limit=limit) for kind in (True, False)])
    rows = requests.some(index)
    answers = generate(model, rows, max_tokens=params.max_new_tokens, batch_size=params.batch_size)
    return TrainingAnswers(rows, answers, requests.positive[index])


def own_refusal_tokens(ev: Evidence, model: HookedModel, training: TrainingAnswers) -> tuple[int, ...]:
    """The first tokens of the model's greedy refusals on training requests.

    Of a model that never refuses, those with which the published phrases begin.
    """
    found = refusal_tokens(model, training.completions)
    refused = np.array([says_refusal(each.text) for each in training.completions], dtype=bool)
    about = "Training requests that are harmful and were answered, to find the refusal tokens."
    ev.count("n_asked_train", int(training.harmful.sum()), about)
    n_refused = int((refused & training.harmful).sum())
    ev.count("n_refused_train", n_refused, "Those of them that the model refuses.")
    about = "Refusal tokens: first tokens of the model's own refusals; 0 where it never refused."
    ev.count("n_refusal_tokens", len(found.ids), about, unit="token")
    ev.table("refusal_tokens", found.table())
    return found.ids or phrase_tokens(model)


def recipe_settings(n_layers: int, requests: Requests, params: Params) -> Settings:
    """The recipe's settings for a model of this depth."""
    layers = range(int(np.ceil(params.max_depth * n_layers)))
    if params.layer != "selected":
        site = resolve_site(f"blocks.{params.layer}.hook_resid_pre", n_layers)
        layers = [int(site.split(".")[1])]
    positions = range(-requests.n_places, 0)
    if params.position != "selected":
        if params.position not in positions:
            raise SpecError(
                "the template has no such position behind a request",
                where="parameters.position",
                expected=f"-{requests.n_places} to -1",
                seen=str(params.position),
            )
        positions = [params.position]
    return Settings(
        layers=layers,
        positions=positions,
        limits=Limits(params.max_kl, params.min_induced),
        n_screen=params.screen_prompts,
        n_finalists=params.finalists,
        coefficient=params.coefficient,
        filtered=params.filtered,
    )


def with_system(prompts: PromptSet, system: str) -> PromptSet:
    """The prompts with the run's system text before each, where it has one."""
    return replace(prompts, table=prompts.table.assign(system=system)) if system else prompts


def control_settings(n_layers: int, params: Params) -> ControlSettings:
    """The positive control's: a few layers over the depth that the recipe considers, fewer requests."""
    considered = range(int(np.ceil(params.max_depth * n_layers)))
    step = -(-len(considered) // CONTROL_LAYERS)
    return ControlSettings(
        layers=considered[step - 1 :: step],
        coefficient=params.coefficient,
        train_prompts=params.token_prompts // 2,
        selected_on=params.screen_prompts,
        answered=params.positive_control_prompts,
        max_new_tokens=params.max_new_tokens,
        batch_size=params.batch_size,
        seed=params.seed,
    )


def describe_selection(ev: Evidence, n_layers: int, requests: Requests, learned: Learned) -> None:
    """Which direction was selected, among how many, and on what."""
    selection = learned.selection
    chosen = selection.chosen
    ev.count("layer", chosen.layer, "The block at whose input the direction was found.", unit="layer")
    ev.count("depth", chosen.layer / n_layers, "The same as a fraction of the depth.", unit="depth")
    about = f"Its position, from the end of the prompt: {requests.template[chosen.position]!r}."
    ev.count("position", chosen.position, about, unit="position")
    ev.count("direction_length", float(chosen.direction.norm()), "Length of the direction.", unit="direction")
    screened = selection.table["stage"].tolist().count("screened")
    ev.count("n_candidates", screened, "Candidates that were screened.", unit="candidate")
    about = "1 where it keeps to every limit on all selection requests, 0 where no finalist does."
    ev.count("keeps_limits", int(selection.keeps_limits), about, unit="candidate")
    about = "1 where training and selection requests were filtered, 0 where all were taken."
    ev.count("filtered", int(learned.filtered), about)
    positive = requests.positive[learned.train]
    for label, n in ((HARMFUL, int(positive.sum())), ("harmless", int((~positive).sum()))):
        ev.count(f"n_{label}_used_train", n, f"{label.capitalize()} training requests in the means.")
    # Where `mech steer` finds it.
    site = Site(chosen.layer, RESID_PRE)
    ev.array(vector_array(str(site)), chosen.direction.cpu().numpy())
    ev.table("candidates", selection.table).scatter(
        "candidates",
        "kl: KL on harmless requests (nats)",
        "ablated_score: refusal score, ablated",
        color="stage",
        title="Candidates",
        caption="Ablated refusal score on harmful selection requests (lower: more of refusal hangs on the "
        "direction) against what ablation does to harmless ones.",
    )


def refusal_judge(ev: Evidence, model: HookedModel, training: TrainingAnswers, params: Params) -> Judge:
    """Refusals by published phrases; what is no answer by limits of the model's own answers in training."""
    limits = calibrate_coherence(model, training.rows, training.completions, params.seed)
    limit = float(np.exp(limits.nats_per_token))
    ev.count("perplexity_limit", limit, limits.in_words(), unit="perplexity")
    return Judge(says_refusal, model, limits, params.off_topic)


def in_french(text: str) -> bool:
    """Whether an answer is in French, by its common words."""
    return language_of(text) == "french"


def calibrate() -> list[Calibration]:
    """A planted direction that gates refusal, and one that tells harmful requests and gates nothing."""
    told = Params(positive_control="", max_new_tokens=2, screen_prompts=4, n_random=4)
    found = {gates: run(gate_lab(gates=gates), told).measurements for gates in (True, False)}
    gate = {name: m.value for name, m in found[True].items()}
    only = {name: m.value for name, m in found[False].items()}
    return [
        known_answer("gate: separates", "AUC of the planted direction.", gate["auc"], 1),
        known_answer("gate: ablation", "All refusals go.", gate["refusal_change_ablation"], -1),
        known_answer("gate: weights", "With orthogonal weights too.", gate["refusal_change_weights"], -1),
        known_answer("gate: addition", "All are refused.", gate["harmless_refusal_change_addition"], 1),
        known_answer(
            "gate: single layer",
            "The next layer writes the direction again.",
            gate["refusal_change_single_layer"],
            0,
        ),
        known_answer(
            "gate: random direction", "It changes nothing.", gate["refusal_change_random_ablation"], 0
        ),
        known_answer("no gate: separates", "AUC of the planted direction.", only["auc"], 1),
        known_answer("no gate: ablation", "It changes nothing.", only["refusal_change_ablation"], 0),
        known_answer("no gate: addition", "Nor does this.", only["harmless_refusal_change_addition"], 0),
    ]
