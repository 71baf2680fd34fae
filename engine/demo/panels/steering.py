"""A steering vector on a prompt: what the model writes with it, without it, asked in words, and by chance.

1. The vector: of a run, of a file, or made on the spot from pairs of texts (`engine.demo.steering_choices`).
2. Four conditions of one prompt: the model as it is; the vector, times the coefficient, added at its layer at
   every position; the same wish as an instruction before the prompt; a random direction of the same length.
3. All four are continued greedily, token by token, from one batch (`engine.lab.streamed_texts`).
4. What each costs: its perplexity under the unmodified model, after the prompt alone, so that an instruction
   does not make its own effect likely; its repetition; and whether it is broken, by limits calibrated on the
   model's own answers (`engine.lab.completions`).

The vector is that of the family `caa_steering`; texts and perplexities are those of `mech steer`. One prompt
is an anecdote: the spec measures the effect on all held-out pairs.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from math import isfinite, log
from typing import Annotated, Any

import gradio as gr
import numpy as np
import pandas as pd
from pydantic import Field

from engine.data.chat import require_template
from engine.demo.charts import figure_html, figure_view
from engine.demo.live_model import CORPUS, LiveModel
from engine.demo.panel import Cancelled, Panel, PanelState, TellProgress, View
from engine.demo.steering_choices import (
    CONCEPTS,
    FILE,
    LISTS,
    RUN,
    ChosenVector,
    at_layer,
    choices,
    chosen_vector,
    prompts_of_spec,
    require_layer,
    run_id,
)
from engine.errors import DemoError
from engine.evidence.result import Figure
from engine.families.caa_steering import Params
from engine.families.caa_steering.contrast_texts import beginning
from engine.lab.completions import Coherence, CoherenceLimits, calibrate_coherence, coherence
from engine.lab.masked_completions import masked
from engine.lab.streamed_texts import SteeringCondition, StreamedText, streamed_texts
from engine.models.forward import NO_EDITS
from engine.models.generate import Completion, generate
from engine.runs.investigation import find_root_or_here
from engine.runs.steered_texts import is_of_refusals, run_experiment, steering_conditions, token_ids
from engine.spec.family_params import TextTemplate
from engine.spec.inputs import CHAT

MOST_TOKENS = 48
"""Of a completion: some six seconds on two cores."""
PROMPT_TOKENS = 128
"""Of a prompt with its instruction: four of them are read at once, and cancelling waits for that."""
CALIBRATED_ON = 6  # answers of the model, in two batches
CALIBRATED_TOKENS = 16
OPEN_PROMPTS = 8
CORPUS_TOKENS = 20_000
TEXT_DOCUMENTS = 8
INSTRUCTED = "instructed"
TITLES = {
    "unmodified": "Baseline",
    "steered": "Steered",
    INSTRUCTED: "Instructed in words",
    "random direction": "Random direction",
}
ABOUT = {
    "unmodified": "the model as it is",
    "steered": "the vector, added at every position",
    INSTRUCTED: "the same wish, as a sentence before the prompt",
    "random direction": "as long as the vector",
}

# Six pairs of the packaged set `sentiment`, each of another topic.
POSITIVE = """\
Last night I watched the new space adventure. It thrilled me from the first scene.
We spent two nights at the inn near the station. The room was spotless and quiet.
I ordered a rain jacket in size medium. It fits perfectly and keeps me dry.
Our flight to Denver left in the evening. The crew was gracious and helpful.
I took an online class in photography. The teacher was inspiring.
We had a picnic in the park by the lake. It was a heavenly afternoon."""
NEGATIVE = """\
Last night I watched the new space adventure. It bored me from the first scene.
We spent two nights at the inn near the station. The room was filthy and loud.
I ordered a rain jacket in size medium. It fits poorly and gets me soaked.
Our flight to Denver left in the evening. The crew was hostile and unhelpful.
I took an online class in photography. The teacher was insufferable.
We had a picnic in the park by the lake. It was a hellish afternoon."""

Name = Annotated[str, Field(min_length=1, max_length=120)]
List = Annotated[str, Field(max_length=4000)]


class SteeringState(PanelState):
    prompt: Annotated[str, Field(min_length=1, max_length=1000)] = (
        "I had dinner at the new place on Market Street last night."
    )
    """What the model goes on from."""
    vector: Name = "sentiment"
    """`sentiment` or `certainty`, `lists`, `run 12`, or `file NAME`."""
    coefficient: Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)] = 2.0
    """What the vector is multiplied with; 1 adds the mean difference as it is."""
    layer: Annotated[int, Field(ge=0, le=999)] | None = None
    """Added at the output of this block; the middle one, or the vector's own, when left out."""
    instruction: Annotated[str, Field(min_length=1, max_length=400)] = CONCEPTS["sentiment"]
    """The same wish as a sentence: before the prompt, or as the system text of a chat."""
    template: TextTemplate = "plain"
    """Texts as they are, or as requests in the model's chat template."""
    tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] = 24
    """Of each completion, at most."""
    seed: Annotated[int, Field(ge=0, le=9999)] = 0
    """Draws the random direction."""
    positive: List = POSITIVE
    """A text with the concept in each line; line 1 is a pair with line 1 of the other list."""
    negative: List = NEGATIVE
    """The same without the concept."""


@dataclass(frozen=True)
class SteeringCompletion:
    """One condition's text, masked where the vector is one of refusals, and what it costs.

    `perplexity` is NaN until it is read, and of a text without a second token; `verdict` is empty until then.
    `problem` says why there is no text: the model's numbers were no numbers any more.
    """

    condition: str
    text: str
    is_finished: bool = False
    n_tokens: int = 0
    perplexity: float = float("nan")
    repetition: float = float("nan")
    verdict: str = ""
    problem: str = ""


@dataclass(frozen=True)
class SteeringAnswer:
    """What is on screen; `command` makes the same texts at a vector's own layer.

    `by_condition` and its figure are there once everything is read and something has a perplexity.
    """

    prompt: str
    coefficient: float
    vector: ChosenVector
    completions: Sequence[SteeringCompletion]
    command: str
    coherence_limits: CoherenceLimits | None = None
    by_condition: pd.DataFrame | None = None
    by_condition_figure: Figure | None = None

    def of(self, condition: str) -> SteeringCompletion:
        """One condition's completion."""
        return next(each for each in self.completions if each.condition == condition)


def examples(live: LiveModel) -> list[SteeringState]:
    """Beginnings of the investigation of doses, at doses that move the text, turn it round and break it."""
    reviews, questions = (
        [str(request) for request in live.prompts(f"{name}-open", CHAT).table["request"]] for name in CONCEPTS
    )
    certain = CONCEPTS["certainty"]
    return [
        SteeringState(),
        SteeringState(prompt=reviews[2], coefficient=-2.0),
        SteeringState(prompt=reviews[1], coefficient=8.0),
        # After a question as plain text this model says nothing.
        SteeringState(prompt=questions[0], vector="certainty", instruction=certain, template="chat"),
        SteeringState(prompt=reviews[4], vector=LISTS),
    ]


def stream(
    live: LiveModel, state: SteeringState, progress: TellProgress, cancelled: Cancelled
) -> Iterator[SteeringAnswer]:
    """The four texts after each token, then with what they cost; refusals as DemoError, DataError and others.

    Whoever stops asking stops it; `cancelled` is looked at between tokens.
    """
    model = live.model
    require_possible(live, state)
    # 1. The vector, where it is to be added.
    params = Params(**parameters(state))
    texts = lines(state.positive), lines(state.negative)
    chosen = chosen_vector(live, state.vector, *texts, params, progress)
    chosen = at_layer(chosen, state.layer)
    # 2. The four conditions of one prompt.
    conditions = four_conditions(live, state, chosen)
    # 3. Their texts as they grow.
    progress(0.35, "writing")
    found = SteeringAnswer(state.prompt, state.coefficient, chosen, [], steer_command(state, live.name))
    streamed: list[StreamedText] = []
    for streamed in streamed_texts(model, conditions, state.tokens):
        if cancelled():
            return
        found = replace(found, completions=[grown(text, chosen) for text in streamed])
        yield found
    # 4. What each costs.
    progress(0.75, "reading the four texts with the unmodified model")
    made = {text.condition: text.completion for text in streamed if text.completion is not None}
    prompt = conditions[0].prompt
    # Of each prompt by itself: with no other one to compare with, nothing is called off topic.
    costs = coherence(model, [prompt] * len(made), list(made.values()), range(len(made)))
    found = with_costs(found, list(made), costs)
    yield found
    limits = coherence_limits(live, state.template, progress)
    progress(0.97, "drawing")
    yield with_verdicts(found, list(made), costs, limits)


def answer(
    live: LiveModel, state: SteeringState, progress: TellProgress, cancelled: Cancelled
) -> SteeringAnswer:
    """The whole answer; DemoError where the request was stopped before there was one."""
    found = None
    for fuller in stream(live, state, progress, cancelled):
        found = fuller
    if found is None:
        raise DemoError("this request was stopped before its first token")
    return found


def require_possible(live: LiveModel, state: SteeringState) -> None:
    """DemoError for a state that this model cannot answer, before anything is computed."""
    for name in ("prompt", "instruction"):
        if not getattr(state, name).strip():
            raise DemoError(f"the {name} is empty", expected="a text of at least one word")
    require_layer(state.layer, live.model.n_layers)
    if state.template == "chat":
        require_template(live.model)


def parameters(state: SteeringState) -> dict[str, Any]:
    """The state as parameters of the family."""
    return {
        "instruction": state.instruction,
        "layer": f"blocks.{'50%' if state.layer is None else state.layer}.hook_resid_post",
        # The family takes one above 0, and measures its negative too.
        "coefficient": abs(state.coefficient) or 1.0,
        "coefficients": [],
        "template": state.template,
        "n_random": 1,
        "text_documents": TEXT_DOCUMENTS,
        "open_prompts": OPEN_PROMPTS,
        "new_tokens": state.tokens,
        "seed": state.seed,
    }


def lines(text: str) -> list[str]:
    """The texts of a list, a line each; empty lines are none."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def four_conditions(live: LiveModel, state: SteeringState, chosen: ChosenVector) -> list[SteeringCondition]:
    """The conditions in the order of TITLES; DemoError for a prompt that is too long."""
    model = live.model
    plain = state.template == "plain"
    prompt = token_ids(model, state.prompt, plain)
    instructed = token_ids(model, state.prompt, plain, state.instruction)
    most = min(PROMPT_TOKENS, model.anatomy.context_tokens - state.tokens)
    longest = max(len(prompt), len(instructed))
    if longest > most:
        raise DemoError(
            "the prompt is too long",
            expected=f"at most {most} tokens, with the instruction",
            seen=f"{longest} tokens",
        )
    made = steering_conditions(model, chosen.vector, prompt, state.coefficient, state.seed)
    by_name = {condition.name: condition for condition in made}
    by_name[INSTRUCTED] = SteeringCondition(INSTRUCTED, instructed, NO_EDITS)
    return [by_name[name] for name in TITLES]


def grown(text: StreamedText, chosen: ChosenVector) -> SteeringCompletion:
    """A text as it is shown so far."""
    words = text.text
    # Nobody has looked at the prompt, and what such a vector takes away may have been a refusal.
    if is_of_refusals(chosen.vector):
        words = masked(words)
    n_tokens = len(text.completion.token_ids) if text.completion else 0
    return SteeringCompletion(text.condition, words, text.is_finished, n_tokens, problem=text.problem)


def with_costs(found: SteeringAnswer, names: Sequence[str], costs: Coherence) -> SteeringAnswer:
    """The answer with perplexity and repetition of the conditions that have a text."""
    completions = [
        replace(
            completion,
            perplexity=float(costs.perplexity[names.index(completion.condition)]),
            repetition=float(costs.repetition[names.index(completion.condition)]),
        )
        if completion.condition in names
        else completion
        for completion in found.completions
    ]
    return replace(found, completions=completions)


def with_verdicts(
    found: SteeringAnswer, names: Sequence[str], costs: Coherence, limits: CoherenceLimits
) -> SteeringAnswer:
    """The answer with what each text is by the limits, as a table, and drawn where there is something."""
    verdicts = dict(zip(names, costs.states(limits), strict=True))
    completions = [
        replace(completion, verdict=verdicts.get(completion.condition, "broken"))
        for completion in found.completions
    ]
    found = replace(found, completions=completions, coherence_limits=limits)
    table = cost_table(found)
    drawn = table[np.isfinite(table["nats_per_token"])].reset_index(drop=True)
    figure = cost_figure(limits) if len(drawn) else None
    return replace(found, by_condition=drawn, by_condition_figure=figure)


def cost_table(found: SteeringAnswer) -> pd.DataFrame:
    """A row for each condition."""
    baseline = found.of("unmodified").perplexity
    rows = [
        {
            "condition": TITLES[each.condition],
            "nats_per_token": log(each.perplexity) if isfinite(each.perplexity) else float("nan"),
            "perplexity": each.perplexity,
            "times_baseline": each.perplexity / baseline,
            "repetition": each.repetition,
            "verdict": each.verdict,
        }
        for each in found.completions
    ]
    return pd.DataFrame(rows)


def cost_figure(limits: CoherenceLimits) -> Figure:
    """Bars from zero, in nats: perplexities of broken text would leave no room for the others."""
    return Figure(
        kind="bar",
        table="by_condition",
        columns={"x": "nats_per_token", "y": "condition", "label": "perplexity"},
        title="How unlikely each text is for the unmodified model",
        caption=(
            "Nats per token, from the second token on, after the prompt alone. Beyond the dashed line a text "
            "is called broken."
        ),
        options={
            "x_title": "nats per token",
            "sort": list(TITLES.values()),
            "rule": limits.nats_per_token,
        },
    )


def coherence_limits(live: LiveModel, template: TextTemplate, progress: TellProgress) -> CoherenceLimits:
    """Beyond which a text is broken, calibrated once for a model on its answers to packaged beginnings."""

    def calibrate() -> CoherenceLimits:
        model = live.model
        requests = live.prompts("sentiment-open", CHAT).table["request"][:CALIBRATED_ON]
        prompts = [token_ids(model, request, template == "plain") for request in requests]
        made: list[Completion] = []
        for first in range(0, len(prompts), CALIBRATED_ON // 2):
            progress(0.8 + 0.1 * first / len(prompts), "calibrating what broken means, once for this model")
            batch = prompts[first : first + CALIBRATED_ON // 2]
            made += generate(model, batch, max_tokens=CALIBRATED_TOKENS)
        progress(0.92, "calibrating what broken means, once for this model")
        return calibrate_coherence(model, prompts, made)

    return live.shared(("coherence limits", live.model.hash, template), calibrate)


def spec(state: SteeringState, model: str) -> dict[str, Any]:
    """The experiment that makes the vector and measures it on held-out pairs; DemoError where none does."""
    if state.vector.startswith(FILE):
        raise DemoError("a vector of a file is no experiment, and mech steer takes it as it is")
    if state.vector.startswith(RUN):
        return spec_of_run(state, model)
    if state.coefficient == 0:
        raise DemoError("with a coefficient of 0 there is nothing to measure")
    prompts = prompts_of_spec(state.vector, lines(state.positive), lines(state.negative))
    found = parameters(state)
    if not all(beginning(row).strip() for row in prompts.get("rows", [])):
        # There is nothing to go on from where the two texts of a pair begin differently.
        found["open_prompts"] = 0
    return {
        "name": f"demo-steering-{state.vector}",
        "family": "caa_steering",
        "model": model,
        "prompts": prompts,
        "corpus": {"name": CORPUS, "tokens": CORPUS_TOKENS},
        "parameters": found,
    }


def spec_of_run(state: SteeringState, model: str) -> dict[str, Any]:
    """The experiment of a run; one of `caa_steering` at what the panel shows, as far as it can be said."""
    experiment = run_experiment(run_id(state.vector), find_root_or_here())
    if experiment["family"] == "caa_steering" and state.coefficient:
        said = parameters(state)
        changed = ["coefficient", "instruction", "new_tokens", "seed"]
        changed += [] if state.layer is None else ["layer"]
        experiment["parameters"] |= {name: said[name] for name in changed}
    return {**experiment, "model": model}


def steer_command(state: SteeringState, model: str) -> str:
    """The same texts from the command line."""
    vector = state.vector.removeprefix(RUN).removeprefix(FILE)
    reference = vector if vector != state.vector else "RUN"
    parts = ["mech", "steer", model, "--vector", reference, "--coefficient", f"{state.coefficient:g}"]
    parts += ["--tokens", str(state.tokens), "--seed", str(state.seed)]
    parts += ["--plain"] if state.template == "plain" else []
    return shlex.join([*parts, state.prompt])


def view(live: LiveModel, controls: Callable[[], None]) -> View[SteeringState, SteeringAnswer]:
    """The prompt, the vector and its dose; the two lists folded away; below them the four texts."""
    state = SteeringState()
    prompt = gr.Textbox(label="Prompt", value=state.prompt, lines=2, max_length=1000)
    with gr.Row():
        vector = gr.Dropdown(
            choices(live),
            value=state.vector,
            label="Vector",
            allow_custom_value=True,
            info="A run of the store that is not listed can be typed: run 12",
        )
        coefficient = gr.Slider(-20, 20, value=state.coefficient, step=0.25, label="Coefficient")
        layer = gr.Number(
            label="Layer", value=state.layer, precision=0, info="Empty: the middle, or the vector's own"
        )
    instruction = gr.Textbox(
        label="Instruction", value=state.instruction, max_length=400, info="The same wish in words"
    )
    with gr.Accordion("Two lists of texts, in pairs, for a vector of your own", open=False):
        gr.HTML(
            "<p>Choose the vector <code>lists</code>. Line 1 of one list is a pair with line 1 of the other; "
            "one half of the pairs makes the vector, the other half is held out. The lists are part of the "
            "address, where they differ from these.</p>"
        )
        with gr.Row():
            positive = gr.Textbox(label="With the concept", value=state.positive, lines=7, max_length=4000)
            negative = gr.Textbox(label="Without it", value=state.negative, lines=7, max_length=4000)
    with gr.Accordion("More", open=False), gr.Row():
        template = gr.Radio(["plain", "chat"], value=state.template, label="Texts are read")
        tokens = gr.Number(label="Tokens of each text", value=state.tokens, precision=0)
        seed = gr.Number(label="Seed of the random direction", value=state.seed, precision=0)
    controls()
    texts = gr.HTML(elem_classes=["mech-found"])
    costs = figure_view("What each text costs")
    found = gr.HTML(elem_classes=["mech-found"])
    return View(
        inputs={
            "prompt": prompt,
            "vector": vector,
            "coefficient": coefficient,
            "layer": layer,
            "instruction": instruction,
            "template": template,
            "tokens": tokens,
            "seed": seed,
            "positive": positive,
            "negative": negative,
        },
        outputs=[texts, costs, found],
        show=shown,
    )


def shown(found: SteeringAnswer) -> list[Any]:
    """The four texts; figure and vector once they are known, and until then nothing of an answer before."""
    figure = ""
    if found.by_condition is not None and found.by_condition_figure is not None:
        figure = figure_html(found.by_condition_figure, found.by_condition)
    return [texts_html(found), figure, vector_html(found)]


def texts_html(found: SteeringAnswer) -> str:
    """The prompt, and the four texts side by side, each with what it costs."""
    cards = "".join(map(card_html, found.completions))
    prompt = f"<p>The texts go on from: <q>{escape(found.prompt)}</q></p>"
    return f'{prompt}<div class="mech-texts">{cards}</div>'


def card_html(each: SteeringCompletion) -> str:
    """One text under its condition."""
    # Which key is pressed makes no difference to a text that has a line end before its first word.
    text = escape(each.text.strip()) or ("(empty)" if each.is_finished else "...")
    if each.problem:
        text = f"(no text: {escape(each.problem)})"
    costs = ""
    if each.is_finished and not each.problem:
        costs = "".join(f"<div><dt>{name}</dt><dd>{said}</dd></div>" for name, said in cost_words(each))
    verdict = f' <span class="mech-verdict">{escape(each.verdict)}</span>' if each.verdict else ""
    return (
        f'<section class="mech-text" aria-busy="{str(not each.is_finished).lower()}">'
        f"<h2>{TITLES[each.condition]}{verdict}</h2><p>{ABOUT[each.condition]}</p>"
        f"<blockquote>{text}</blockquote><dl>{costs}</dl></section>"
    )


def cost_words(each: SteeringCompletion) -> list[tuple[str, str]]:
    """What a text costs, in the order in which it is shown; nothing that is not known."""
    found = []
    if isfinite(each.perplexity):
        found.append(("perplexity", f"{each.perplexity:.3g}"))
    if isfinite(each.repetition):
        found.append(("repeated", f"{each.repetition:.0%}"))
    return [*found, ("tokens", str(each.n_tokens))]


def vector_html(found: SteeringAnswer) -> str:
    """Where the vector is from and added, how far its pairs agree, and what broken means."""
    chosen = found.vector
    lengths = [float(np.linalg.norm(each)) for each in chosen.vector.directions.values()]
    where = ", ".join(chosen.sites[:3])
    if len(chosen.sites) > 3:
        where += f" and {len(chosen.sites) - 3} more"
    said = [
        f"The vector: {chosen.about}. Added at {where}, {found.coefficient:g} times; its length is "
        f"{', '.join(f'{length:.3g}' for length in lengths[:3])}."
    ]
    if agreement := agreement_words(chosen):
        said.append(agreement)
    if found.coherence_limits is not None:
        said.append(found.coherence_limits.in_words())
    words = "".join(f"<p>{escape(each)}</p>" for each in said)
    how = "From the command line, at the vector's own layer (RUN is the id of the spec's run):"
    return f"{words}<p>{how} <code>{escape(found.command)}</code></p>"


def agreement_words(chosen: ChosenVector) -> str:
    """How far the pairs agree on one direction, beside chance; empty for a vector that was made elsewhere."""
    measured = chosen.measurements
    if "agreement" not in measured:
        return ""
    chance = measured["shuffled_agreement"].value
    words = f"Mean cosine of its pairs' differences with it: {measured['agreement'].value:.2f}"
    words += f" ({chance:.2f} with their signs drawn at random)"
    return f"{words}; of the held-out pairs' {measured['held_out_agreement'].value:.2f}."


def summary(found: SteeringAnswer) -> list[str]:
    """Each condition with its cost and its first words."""
    baseline, *others = found.completions
    said = [f"{TITLES[baseline.condition].lower()} perplexity {baseline.perplexity:.3g}"]
    for each in others:
        verdict = each.problem or each.verdict
        said.append(f"{TITLES[each.condition].lower()} {each.perplexity:.3g}, {verdict}")
    return ["; ".join(said), f"steered: {masked(found.of('steered').text, 8)}"]


PANEL: Panel[SteeringState, SteeringAnswer] = Panel(
    name="steering",
    title="Steering",
    about=(
        "A vector is added to the residual stream. Does the text change as it should, more than by a random "
        "direction, and what does it cost beside an instruction?"
    ),
    state=SteeringState,
    examples=examples,
    answer=answer,
    spec=spec,
    view=view,
    summary=summary,
    stream=stream,
)
