"""Contrastive activation addition: what a vector from contrasts does, prompt by prompt, and what it costs.

1. Divide the contrasts by cluster (topic): half train, the others are held out.
2. The vector is the mean difference, positive less negative, of the activations at `layer` on the training
   contrasts, over the tokens of the answers or at the last one. How far single differences agree with it: the
   cosine, of training and of held-out ones.
3. Add it at every position, times each coefficient, and read both answers of each held-out contrast. Its
   margin is ln p(positive answer) - ln p(negative answer), per token or in all; for answers of one token it
   is their logit difference. The effect is what the margin gains on the unmodified model's.
4. The same with random directions of the vector's length, and for the instruction given as a prompt.
5. The share of contrasts that are steered the wrong way: with an effect below 0 at the coefficient, and with
   less of a margin at the coefficient than at its negative.
6. Costs: the loss on ordinary text (its exponential is the perplexity), one context of each document.
7. Go on greedily from what held-out contrasts begin with: unmodified, steered, by a random direction, and
   with the instruction. How much of the concept a completion has is told by its words; how much sense, by its
   loss under the unmodified model and by whether it is broken (`engine/lab/completions.py`).

Source: Rimsky et al. 2024, "Steering Llama 2 via Contrastive Activation Addition"; Tan et al. 2024,
"Analyzing the Generalization and Reliability of Steering Vectors" (contrasts that are steered the wrong
way). Units of sampling: the contrast, and the document of text. Controls: random directions of the same
length, of which the one with the largest mean effect is shown by itself; signs of the differences drawn anew
for the agreement; the instruction as a prompt, which is known to work. That steering works is a claim about
the prompts like these; that it fails on some is a finding of its own.

Pitfalls:

- A mean effect hides the inputs that are steered the wrong way, which may be many (Tan et al. 2024).
- A vector may carry a bias of its contrasts, such as the place or the letter of an option, in place of the
  concept (Tan et al. 2024, on steerability bias).
- Steering has to be compared with a prompt that asks for the same, which often does better (Wu et al. 2025,
  AxBench).
- A larger coefficient also breaks text, so that an effect without its cost says little (Stickland et al.
  2024, "Steering Without Side Effects").
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor

from engine.data.contrasts import TextContrasts
from engine.errors import SpecError
from engine.evidence.builder import Evidence
from engine.evidence.result import Calibration, Measurement, Result
from engine.families.caa_steering.contrast_texts import answer, contrast_texts, read_texts
from engine.families.caa_steering.margins import Margins, PerContrast, Steering, all_margins
from engine.families.caa_steering.open_generation import OpenTexts, open_texts, told_apart
from engine.families.caa_steering.planted_steering import INSTRUCTION, SITE, planted_steering
from engine.families.caa_steering.text_loss import TextLosses, text_losses
from engine.families.caa_steering.word_score import learned_weights, listed_weights
from engine.lab.directions import agreement, projection, random_directions, unit
from engine.lab.lab import Lab
from engine.lab.profiles import known_answer
from engine.lab.split import first_per_stratum, selection_half, split_in_words
from engine.lab.steering_vectors import vector_array
from engine.models.sites import Site, site_of
from engine.spec.family_params import MarginScorer, ReadAt, SeedParams, TextTemplate
from engine.spec.inputs import CONTRAST, Inputs
from engine.spec.sites import RESID_PRE

NATS = "nats per token"
MOST_NATS = 700.0
"""Of a loss whose exponential a float can hold: more is shown as this."""

inputs = Inputs(prompts=CONTRAST, corpus=True, site_parameters=("layer",))


class Params(SeedParams):
    instruction: Annotated[str, Field(min_length=1)]
    """What the vector is to do, as a sentence: the prompted baseline. It stands before the text, or as the
    system text of a chat."""
    layer: str = "blocks.50%.hook_resid_post"
    """The hook site that the vector is read and added at, with a layer or a relative depth."""
    read_at: ReadAt = "answer"
    """Where the differences are read: the mean over the tokens in which the two texts differ (`answer`), or
    at the `last` token, as Rimsky et al. do."""
    coefficient: Annotated[float, Field(gt=0)] = 1.0
    """The coefficient that findings are about; its negative is measured too."""
    coefficients: list[float] = [-4.0, -2.0, 2.0, 4.0]
    """Further ones, for the dose-response."""
    scorer: MarginScorer = "per_token"
    """Margins in nats `per_token` of each answer, or in all (`total`), which favours short answers."""
    template: TextTemplate = "plain"
    """Texts as they are (`plain`), or what they begin with as a request in the model's chat template and the
    rest as its answer (`chat`)."""
    n_random: Annotated[int, Field(gt=0)] = 4
    """Random directions of the vector's length."""
    text_documents: Annotated[int, Field(gt=1)] = 32
    """At most this many documents of the corpus are read, one context of each."""
    context_tokens: Annotated[int, Field(gt=1)] = 64
    """Tokens of a context."""
    open_prompts: Annotated[int, Field(ge=0)] = 40
    """At most this many beginnings of held-out contrasts are gone on from, evenly by cluster; 0 generates
    nothing."""
    new_tokens: Annotated[int, Field(gt=0)] = 24
    """Tokens of a completion."""
    positive_words: list[str] = []
    """Words that count for the concept in a completion. Without lists, words are learned from the training
    contrasts."""
    negative_words: list[str] = []
    """Words that count against it."""

    @model_validator(mode="after")
    def _can_be_measured(self) -> Params:
        if not all(map(isfinite, (self.coefficient, *self.coefficients))):
            raise ValueError("coefficients are finite numbers")
        if bool(self.positive_words) != bool(self.negative_words):
            raise ValueError("positive_words and negative_words go together: a list of each, or neither")
        return self

    @property
    def doses(self) -> list[float]:
        """All coefficients, in order, without 0."""
        return sorted({*self.coefficients, self.coefficient, -self.coefficient} - {0.0})


@dataclass(frozen=True)
class Division:
    """Contrasts that the vector is made of, and those that it is measured on: no cluster is among both."""

    contrasts: TextContrasts
    training: Bool[np.ndarray, " contrast"]

    @property
    def trained(self) -> pd.DataFrame:
        return _rows(self.contrasts.table, self.training)

    @property
    def held_out(self) -> pd.DataFrame:
        return _rows(self.contrasts.table, ~self.training)

    @cached_property
    def evidence(self) -> Evidence:
        """Over all contrasts, with how many there are of each kind."""
        contrasts = self.contrasts
        column = contrasts.cluster_column
        groups = contrasts.clusters if column else None
        ev = Evidence("contrast", contrasts.ids, groups=groups, group_unit=column)
        given = len(contrasts) + len(contrasts.dropped)
        ev.count("contrasts_given", given, "Contrasts in the set.")
        ev.count("contrasts_trained", int(self.training.sum()), "Contrasts that the vector is the mean of.")
        ev.count("contrasts_held_out", int((~self.training).sum()), "Contrasts that it is measured on.")
        return ev

    def over(self, rows: Bool[np.ndarray, " contrast"]) -> Evidence:
        """Evidence over some of them, whose values are given for them alone."""
        words = split_in_words(self.contrasts.clusters, self.training, self.contrasts.cluster_column)
        return self.evidence.where(rows, chosen_on=words).of(np.flatnonzero(rows))


def _rows(table: pd.DataFrame, wanted: Bool[np.ndarray, " contrast"]) -> pd.DataFrame:
    return table.iloc[np.flatnonzero(wanted)].reset_index(drop=True)


def run(lab: Lab, params: Params) -> Result:
    """Agreement, dose-response, shares steered the wrong way, costs, and open generation."""
    site = stream_site(params.layer, lab.model.n_layers)
    c = params.coefficient
    # 1. Divide the contrasts by cluster.
    contrasts = lab.contrasts()
    division = Division(contrasts, selection_half(contrasts.ids, contrasts.clusters))
    ev = division.over(~division.training)
    # 2. The vector, and how far single differences agree with it.
    with lab.stage(0.15, "reading differences"):
        trained = differences(lab, division.trained, site, params)
        held_out = differences(lab, division.held_out, site, params)
    direction = trained.mean(0)
    steering = Steering(site, direction, random_directions(direction, params.n_random, params.seed))
    cosines = agreements(division, trained, held_out, params.seed)

    # 3. Margins of the held-out contrasts at each coefficient; 4. by random directions, by the instruction.
    with lab.stage(0.6, f"steering {len(division.held_out)} contrasts") as progress:
        margins = all_margins(lab.model, division.held_out, steering, params, progress)
    controls = random_controls(ev, margins)
    prompted_controls(ev, margins)
    effects(ev, margins, controls, params)
    # 5. The share that is steered the wrong way.
    wrong_way(ev, margins, controls, c)
    predicted_by_agreement(ev, cosines, margins, c)

    # 6. What it costs on ordinary text.
    with lab.stage(0.75, "reading ordinary text") as progress:
        losses = text_losses(lab.model, lab.text(), steering, params, progress)
    text_costs(ev.over("document", losses.documents), losses, c)
    # 7. Go on from what held-out contrasts begin with.
    with lab.stage(1.0, "generating") as progress:
        if params.open_prompts:
            chosen = evenly(division, params.open_prompts)
            weights = word_weights(division.trained, params)
            table = division.held_out.iloc[chosen].reset_index(drop=True)
            written = open_texts(lab.model, table, steering, params, weights, progress)
            about = "Share of held-out contrasts whose positive answer has the larger score by its words."
            ev.control("words_tell_apart", told_apart(division.held_out, weights), about, bounds=(0, 1))
            open_findings(ev.of(chosen), written)

    by_dose(ev, margins, losses, params)
    by_contrast(ev, division, cosines, margins, c)
    ev.array(vector_array(str(site)), direction.cpu().numpy())
    return ev.result()


def stream_site(layer: str, n_layers: int) -> Site:
    """The hook site; SpecError where its activations are not vectors of the residual stream's width."""
    site = site_of(layer, n_layers)
    if site.kind.axes != RESID_PRE.axes:
        raise SpecError(
            "a steering vector is added where activations are as wide as the residual stream",
            where="parameters.layer",
            expected=f"a site with the axes {RESID_PRE.axes}, as blocks.50%.hook_resid_post",
            seen=f"{site}, with {site.kind.axes}",
        )
    return site


def differences(
    lab: Lab, table: pd.DataFrame, site: Site, params: Params
) -> Float[Tensor, "contrast d_model"]:
    """The activation on each positive text less that on its negative one."""
    texts = contrast_texts(lab.model, table, params.template)
    positive, negative = (read_texts(lab.model, side, site, params.read_at) for side in texts.sides)
    return positive - negative


def agreements(
    division: Division,
    trained: Float[Tensor, "trained d_model"],
    held_out: Float[Tensor, "contrast d_model"],
    seed: int,
) -> PerContrast:
    """How far differences agree with their mean; the cosine of each held-out one, which is given back."""
    ev = division.over(division.training)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(len(trained), 1))
    drawn = trained * torch.as_tensor(signs, dtype=trained.dtype, device=trained.device)
    # Signs that cancel leave no direction to agree with.
    shuffled = agreement(drawn) if drawn.mean(0).norm() > 0 else torch.zeros(len(drawn))
    about = "Mean cosine of training differences with their mean, their signs drawn at random."
    # A mean has a part of each of its differences, so that the cosine is above 0 by chance as well.
    chance = ev.control("shuffled_agreement", shuffled.cpu().numpy(), about, bounds=(-1, 1))
    about = "Mean cosine of training differences with the vector."
    ev.finding("agreement", agreement(trained).cpu().numpy(), about, bounds=(-1, 1), control=chance)
    cosines = projection(unit(held_out), trained.mean(0)).cpu().numpy()
    about = "Mean cosine of held-out differences with the vector."
    held = division.over(~division.training)
    held.finding("held_out_agreement", cosines, about, bounds=(-1, 1), control=chance)
    return cosines


def random_controls(ev: Evidence, margins: Margins) -> dict[str, Measurement]:
    """What random directions of the vector's length do at the same coefficient."""
    effects = margins.random_effects
    # The largest is chosen on the same contrasts as it is measured on, which makes it the harder control.
    largest = effects[effects.mean(axis=1).argmax()]
    about = f"of {len(effects)} random directions of the vector's length at the same coefficient."
    share = f"Share of contrasts with an effect below 0, mean {about}"
    return {
        "mean": ev.control("random_effect", effects.mean(axis=0), f"Mean effect {about}", "nats"),
        "largest": ev.control("largest_random_effect", largest, f"The largest mean effect {about}", "nats"),
        "wrong": ev.control("random_wrong_way", (effects < 0).mean(axis=0), share, bounds=(0, 1)),
    }


def prompted_controls(ev: Evidence, margins: Margins) -> None:
    """What the instruction does as a prompt, without a vector."""
    effect = margins.gain(margins.prompted)
    ev.control("prompted_effect", effect, "Mean effect of the instruction given as a prompt.", "nats")
    about = "Share of contrasts that the instruction, given as a prompt, moves the wrong way."
    ev.control("prompted_wrong_way", effect < 0, about)
    about = "Mean share of the probability of both answers that the positive one has, with the instruction."
    ev.control("prompted_probability", margins.prompted.probability, about, bounds=(0, 1))


def effects(ev: Evidence, margins: Margins, controls: dict[str, Measurement], params: Params) -> None:
    """The margin and what the vector does to it, at the coefficient and at its negative."""
    c = params.coefficient
    plain = margins.plain
    unit_of_margin = NATS if params.scorer == "per_token" else "nats"
    ev.control("plain_margin", plain.margin(params.scorer), "Mean margin, unmodified model.", unit_of_margin)
    about = "Mean effect on the margin at the coefficient."
    ev.finding("effect", margins.effect(c), about, unit_of_margin, control=controls["largest"])
    about = "Mean effect on the margin at the coefficient's negative."
    ev.finding("reversed_effect", margins.effect(-c), about, unit_of_margin, control=controls["mean"])
    about = "Mean share of the probability of both answers that the positive one has, {}."
    chance = ev.control("plain_probability", plain.probability, about.format("unmodified"), bounds=(0, 1))
    steered = margins.steered[c].probability
    about = about.format("at the coefficient")
    ev.finding("positive_probability", steered, about, bounds=(0, 1), control=chance)


def wrong_way(ev: Evidence, margins: Margins, controls: dict[str, Measurement], c: float) -> None:
    """The share of contrasts on which the vector does the opposite of what it does on average."""
    about = "Share of contrasts with an effect below 0 at the coefficient."
    ev.finding("wrong_way", margins.effect(c) < 0, about, control=controls["wrong"])
    # Tan et al. fit a line through several coefficients: of two, its slope has the sign of the difference.
    about = "Share of contrasts with less of a margin at the coefficient than at its negative."
    falls = margins.effect(c) < margins.effect(-c)
    ev.finding("anti_steerable", falls, about, control=controls["wrong"])


def predicted_by_agreement(ev: Evidence, cosines: PerContrast, margins: Margins, c: float) -> None:
    """Whether contrasts whose own difference agrees with the vector are those that it steers more."""
    random = margins.random_effects.mean(axis=0)
    effect = margins.effect(c)
    # Where all are one value there is no order of ranks.
    if min(np.ptp(cosines), np.ptp(random), np.ptp(effect)) == 0:
        return
    about = (
        "Rank correlation, over contrasts, of the difference's cosine with the vector and the effect of {}."
    )
    pairs = np.column_stack((cosines, random))
    words = about.format("random directions")
    chance = ev.control("random_cosine_correlation", pairs, words, statistic="spearman")
    pairs = np.column_stack((cosines, effect))
    words = about.format("the vector")
    ev.finding("cosine_correlation", pairs, words, statistic="spearman", control=chance)


def text_costs(ev: Evidence, losses: TextLosses, c: float) -> None:
    """What the loss on ordinary text gains at the coefficient and at its negative."""
    ev.control("plain_text_loss", losses.plain, "Mean loss on ordinary text, unmodified.", NATS)
    about = "Mean rise of the loss on ordinary text, by random directions of the vector's length."
    chance = ev.control("random_text_loss_rise", losses.random - losses.plain, about, NATS)
    for name, dose, where in (("", c, "coefficient"), ("reversed_", -c, "coefficient's negative")):
        rise = losses.steered[dose] - losses.plain
        about = f"Mean rise of the loss on ordinary text at the {where}."
        ev.finding(f"{name}text_loss_rise", rise, about, NATS, control=chance)


def evenly(division: Division, limit: int) -> np.ndarray:
    """At most `limit` of the held-out contrasts, as many of each cluster as can be."""
    ids = division.contrasts.ids[~division.training]
    clusters = division.contrasts.clusters[~division.training]
    # Round by round: the first of each cluster by hash, then the second of each.
    turns = [first_per_stratum(ids, clusters, turn) for turn in range(1, len(ids) + 1)]
    order = np.argsort(np.sum(turns, axis=0) * -1, kind="stable")
    return np.sort(order[:limit])


def word_weights(trained: pd.DataFrame, params: Params) -> dict[str, float]:
    """The words that tell of the concept: those that are listed, or those of the training answers."""
    if params.positive_words:
        return listed_weights(params.positive_words, params.negative_words)
    rows = trained.to_dict("records")
    positive, negative = ([answer(row, side) for row in rows] for side in ("positive", "negative"))
    return learned_weights(positive, negative)


def open_findings(ev: Evidence, written: OpenTexts) -> None:
    """What completions gain of the concept, and what sense they lose, against the unmodified model's own."""
    words = {
        "plain": "the unmodified model's own",
        "steered": "steered",
        "random": "by one random direction",
        "prompted": "with the instruction",
    }
    # Three numbers of each condition: name, values, sentence, unit. Controls first, since findings name them.
    for name, values, about, quantity in (
        ("word_score", written.score, "Mean score of completions by their words, {}.", ""),
        (
            "open_loss",
            written.loss,
            "Mean loss of completions under the unmodified model, {}.",
            NATS,
        ),
        ("open_broken", written.broken, "Share of completions that are empty or broken, {}.", ""),
    ):
        controls = {
            condition: ev.control(f"{condition}_{name}", values[condition], about.format(told), quantity)
            for condition, told in words.items()
            if condition != "steered"
        }
        ev.finding(name, values["steered"], about.format("steered"), quantity, control=controls["plain"])
    ev.table("completions", written.sample())


def by_dose(ev: Evidence, margins: Margins, losses: TextLosses, params: Params) -> None:
    """Effect, share steered the wrong way and perplexity at each coefficient; every contrast's effect."""
    rows = []
    points = []
    for dose in params.doses:
        effect = margins.effect(dose)
        mean = ev.measured(f"effect at {dose:g}", effect)
        # Below 0 a coefficient is meant to lower the margin.
        wrong = ev.measured(f"wrong way at {dose:g}", effect * np.sign(dose) < 0)
        loss = float(losses.steered[dose].mean())
        rows.append(
            {
                "coefficient": dose,
                "effect": mean.value,
                "low": mean.low,
                "high": mean.high,
                "wrong_way": wrong.value,
                "wrong_way_low": wrong.low,
                "wrong_way_high": wrong.high,
                "text_loss": loss,
                "perplexity": np.exp(min(loss, MOST_NATS)),
                "times_plain": np.exp(min(loss - losses.plain.mean(), MOST_NATS)),
            }
        )
        points += [{"coefficient": f"{dose:g}", "effect": value} for value in effect]
    table = pd.DataFrame(rows)
    # An interval that is withheld is None, which leaves a column of no type.
    ends = {name: table[name].astype(float) for name in ("low", "high", "wrong_way_low", "wrong_way_high")}
    table = table.assign(**ends)
    ev.table("doses", table).line(
        "dose_response",
        "coefficient",
        "effect: effect on the margin",
        band=True,
        title="What each coefficient does to the margin",
        caption="Mean effect on held-out contrasts; bands are 95 % intervals. The dashed line is what the "
        "instruction does as a prompt.",
        rule=float(margins.gain(margins.prompted).mean()),
    )
    ev.table("perplexities", table.filter(items=["coefficient", "perplexity", "times_plain"])).line(
        "perplexity",
        "coefficient",
        "perplexity",
        title="What each coefficient costs on ordinary text",
        caption="Perplexity of the documents; the dashed line is the unmodified model's.",
        log_y=True,
        rule=float(np.exp(losses.plain.mean())),
    )
    ev.table("effects", pd.DataFrame(points)).strip(
        "distribution",
        "coefficient",
        "effect: effect on the margin",
        title="The effect on each contrast",
        caption="A point is a held-out contrast; points on the wrong side of 0 are steered the wrong way.",
        sort=[f"{dose:g}" for dose in params.doses],
        rule=0.0,
    )


def by_contrast(ev: Evidence, division: Division, cosines: PerContrast, margins: Margins, c: float) -> None:
    """Every held-out contrast with its numbers."""
    held_out = division.held_out
    columns = ["id", "topic", "prompt", "positive", "negative"]
    found = {
        "cosine": cosines,
        "margin": margins.plain.margin(margins.scorer),
        "effect": margins.effect(c),
        "prompted_effect": margins.gain(margins.prompted),
    }
    ev.table("per_contrast", held_out.filter(items=columns).assign(**found)).scatter(
        "cosine",
        "cosine: cosine of the contrast's own difference with the vector",
        "effect: effect on the margin",
        label="id",
        title="Does a contrast that agrees with the vector follow it?",
        caption="A point is a held-out contrast.",
        rule=0.0,
    )


def calibrate() -> list[Calibration]:
    """A planted model in which the vector moves the answer by its coefficient, and one that does not
    listen."""
    params = Params(instruction=INSTRUCTION, layer=SITE, coefficient=2.0, coefficients=[4.0], new_tokens=2)
    found = run(planted_steering(listens=True), params)
    heard = {name: m.value for name, m in found.measurements.items()}
    doses = dict(found.tables["doses"].filter(items=["coefficient", "effect"]).to_numpy().tolist())
    unheard = {name: m.value for name, m in run(planted_steering(listens=False), params).measurements.items()}
    half = "{} times half of the answers' difference: three contrasts of four gain as much, one loses it."
    cosines = "Cosines of 1, and of -1 for one contrast in four."
    return [
        known_answer("planted direction", half.format(2), heard["effect"], 1.0, 1e-4),
        known_answer("planted direction, twice the dose", half.format(4), doses[4.0], 2.0, 1e-4),
        known_answer("planted direction, reversed", half.format(-2), heard["reversed_effect"], -1.0, 1e-4),
        known_answer("planted exceptions", "One contrast in four is reversed.", heard["wrong_way"], 0.25),
        known_answer("planted agreement", cosines, heard["agreement"], 0.5, 1e-5),
        known_answer("direction that is not heard, agreement", cosines, unheard["agreement"], 0.5, 1e-5),
        known_answer(
            "direction that is not heard", "What is added is taken away.", unheard["effect"], 0, 1e-4
        ),
    ]
