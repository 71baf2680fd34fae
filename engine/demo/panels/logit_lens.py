"""The logit lens on a text: rank, probability and top tokens by layer and position, and when it is settled.

1. Read the residual stream of every position before and after every block; through a tuned lens, translate
   it first (`engine.lab.tuned_lens`, fitted once for the model).
2. Final norm and unembedding: rank and probability of each position's target, and the likeliest tokens.
   The target is what the model says there in the end; at the last position it is the answer that was typed.
3. A position has committed after the fewest blocks from which on its target stays the likeliest token.

The instruments are those of the families `logit_lens` and `tuned_lens`. A lens reads what could be said after
a layer, not what the model uses there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any, Literal

import gradio as gr
import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.demo.charts import figure_html, figure_view
from engine.demo.limits import prompt_ids
from engine.demo.live_model import CORPUS, LiveModel
from engine.demo.panel import Cancelled, Panel, PanelState, TellProgress, View
from engine.errors import DemoError
from engine.evidence.result import Figure
from engine.families import tuned_lens
from engine.lab.contexts import cut
from engine.lab.lens import LensGrid, read_lens_grid
from engine.lab.profiles import first_for_good
from engine.lab.tuned_lens import Translators, fit_translators

TOP = 5
TUNED_TOKENS = 4_000
"""Few enough to be fitted within the time of a request; the investigation of facts fits on 50,000, and its
translators are less noisy."""
EXAMPLES = 6

Measure = Literal["rank", "probability"]


class LensState(PanelState):
    prompt: Annotated[str, Field(min_length=1, max_length=2000)] = (
        "Fact: The government of France is based in the capital city of"
    )
    """The text that is read."""
    answer: Annotated[str, Field(max_length=100)] = " Paris"
    """What is looked for at the last position, one token with its space; empty for what the model says."""
    lens: Literal["plain", "tuned"] = "plain"
    """The plain lens, or one that is fitted to each layer."""
    show: Measure = "rank"
    """What the colour of a cell says."""


@dataclass(frozen=True)
class LensAnswer:
    """What the lens reads. `commits` has, by position, the blocks after which the target stays on top.

    `answer` is the target of the last position. `cells` has a row for each layer and position, `by_layer` one
    for each layer at the last position.
    """

    tokens: Sequence[str]
    answer: str
    n_layers: int
    grid: LensGrid
    commits: np.ndarray
    cells: pd.DataFrame
    by_layer: pd.DataFrame
    cells_figure: Figure
    by_layer_figure: Figure

    @property
    def commit_layer(self) -> int | None:
        """Blocks after which the answer stays the likeliest token; None where it is not in the end."""
        return int(self.commits[-1]) if self.grid.rank[-1, -1] == 0 else None


def examples(live: LiveModel) -> list[LensState]:
    """Facts of the investigation of recall, the first of each of some relations."""
    table = live.prompts("facts").table.drop_duplicates("relation").head(EXAMPLES)
    return [LensState(prompt=row["clean"], answer=row["answer"]) for row in table.to_dict("records")]


def answer(live: LiveModel, state: LensState, progress: TellProgress, cancelled: Cancelled) -> LensAnswer:
    """Read one text through the lens; DemoError where text or answer are no use, RequestStopped."""
    model = live.model
    ids = prompt_ids(model, state.prompt)
    target = answer_token(live, state)
    # 1. The streams, translated where the lens is tuned.
    if state.lens == "tuned":
        progress(0.05, "fitting the tuned lens, once for this model")
        translate = tuned(live, progress)
    else:
        translate = untranslated
    progress(0.8, f"reading {len(ids)} positions through {model.n_layers} layers")
    # 2. Rank, probability and top tokens.
    grid = read_lens_grid(model, torch.tensor(ids, device=model.device), target, TOP, translate)
    progress(0.95, "drawing")
    # 3. When each position commits.
    commits = first_for_good(grid.rank == 0, never=model.n_layers)
    return described(live, ids, grid, commits, target, state)


def untranslated(streams: torch.Tensor) -> torch.Tensor:
    """The plain lens: the streams as they are."""
    return streams


def tuned(live: LiveModel, progress: TellProgress) -> Translators:
    """The model's tuned lens, fitted as the family fits it on a packaged corpus, kept for later requests."""

    def fit() -> Translators:
        contexts = cut(live.corpus(tokens=TUNED_TOKENS), live.model)
        params = tuned_lens.Params()
        fitted, _ = tuned_lens.held_out(contexts, params, np.random.default_rng(params.seed))
        return fit_translators(live.model, contexts, fitted, lambda done: progress(0.05 + 0.7 * done))

    return live.shared(("tuned lens", live.model.hash, TUNED_TOKENS), fit)


def answer_token(live: LiveModel, state: LensState) -> int | None:
    """The one token of the answer; None where it is left to the model; DemoError for several or none."""
    if not state.answer:
        return None
    before = live.model.token_ids([state.prompt])[0]
    whole = live.model.token_ids([state.prompt + state.answer])[0]
    added = whole[len(before) :] if whole[: len(before)] == before else []
    if len(added) != 1:
        seen = f"{len(added)} tokens" if added else "no token of its own: it runs into the last word"
        raise DemoError(
            f"the answer {state.answer!r} is not one token after this text",
            expected="one token, its space included, or nothing for what the model itself says",
            seen=seen,
        )
    return added[0]


def described(
    live: LiveModel,
    ids: Sequence[int],
    grid: LensGrid,
    commits: np.ndarray,
    target: int | None,
    state: LensState,
) -> LensAnswer:
    """The reading as tables, and what they are drawn as."""
    model = live.model
    tokens = model.token_strings(ids)
    n_positions, n_rows, _ = grid.top.shape
    words = np.array(model.token_strings(grid.top.ravel().tolist()), dtype=object).reshape(grid.top.shape)
    tops = [
        [likeliest(words[pos, layer], grid.top_probability[pos, layer]) for layer in range(n_rows)]
        for pos in range(n_positions)
    ]
    places = [f"{pos} {visible(token)}" for pos, token in enumerate(tokens)]
    cells = pd.DataFrame(
        {
            "position": np.repeat(places, n_rows),
            "blocks_read": np.tile(np.arange(n_rows), n_positions),
            "rank": grid.rank.ravel(),
            "log_rank": np.log1p(grid.rank).ravel(),
            "probability": np.exp(grid.logprob).ravel(),
            "top_tokens": [top for row in tops for top in row],
        }
    )
    last = model.token_strings([target if target is not None else int(grid.top[-1, -1, 0])])[0]
    by_layer = cells.tail(n_rows).drop(columns="position").reset_index(drop=True)
    return LensAnswer(
        tokens=tokens,
        answer=last,
        n_layers=model.n_layers,
        grid=grid,
        commits=commits,
        cells=cells,
        by_layer=by_layer,
        # Positions as they are read, layers upwards: one order for both axes, each taking its own.
        cells_figure=cells_figure(state.show, state.lens, [*places, *range(n_rows - 1, -1, -1)]),
        by_layer_figure=by_layer_figure(state.show, last),
    )


def likeliest(words: Sequence[str], probabilities: np.ndarray) -> str:
    """`Paris 44 %, London 3 %`: the likeliest tokens for a tooltip."""
    return ", ".join(f"{visible(w)} {100 * p:.3g} %" for w, p in zip(words, probabilities, strict=True))


def visible(token: str) -> str:
    """A token with its spaces and line ends to be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"


COLOURS = {"rank": "log_rank", "probability": "probability"}
TITLES = {"rank": "ln(1 + rank)", "probability": "probability"}


def cells_figure(show: Measure, lens: str, order: list[str | int]) -> Figure:
    """Layers upwards, positions to the right; what is not drawn is said where a cell is pointed at."""
    return Figure(
        kind="heatmap",
        table="cells",
        columns={
            "x": "position",
            "y": "blocks_read",
            "color": COLOURS[show],
            "label": "top_tokens",
        },
        title=f"What each position says after each block, by the {lens} lens",
        caption=(
            "The target of a position is what the model says there in the end; of the last one, the answer. "
            "Rank 0 is the likeliest token."
        ),
        options={"sort": order, "color_title": TITLES[show], "y_title": "blocks read"},
    )


def by_layer_figure(show: Measure, answer: str) -> Figure:
    return Figure(
        kind="line",
        table="by_layer",
        columns={"x": "blocks_read", "y": COLOURS[show], "label": "top_tokens"},
        title=f"{TITLES[show][0].upper()}{TITLES[show][1:]} of {visible(answer)} at the last position",
        options={"y_title": TITLES[show]},
    )


def spec(state: LensState, model: str) -> dict[str, Any]:
    """The reading as an experiment: this prompt beside others, whose answers are the control."""
    if not state.answer:
        raise DemoError(
            "an experiment needs an answer to look for", expected="the answer, one token with its space"
        )
    own = {"id": "typed", "relation": "typed", "prompt": state.prompt, "answer": state.answer}
    # A prompt stands in a set once: not beside itself.
    others = [dict(row) for row in OTHERS if row["prompt"] != state.prompt][:2]
    experiment: dict[str, Any] = {
        "name": f"demo-{state.lens}-lens",
        "family": "logit_lens" if state.lens == "plain" else "tuned_lens",
        "model": model,
        "prompts": {"rows": [own, *others]},
        # So many tokens may be likelier than the answer: a text that is read here is read there.
        "parameters": {"known_rank": 1_000_000},
    }
    if state.lens == "tuned":
        experiment["corpus"] = {"name": CORPUS, "tokens": TUNED_TOKENS}
    return experiment


# A family wants two prompts at least, and another answer to compare with.
OTHERS = (
    {"id": "other-1", "relation": "other", "prompt": "Fact: The capital of Germany is", "answer": " Berlin"},
    {"id": "other-2", "relation": "other", "prompt": "Fact: The capital of Italy is", "answer": " Rome"},
    {"id": "other-3", "relation": "other", "prompt": "Fact: The capital of Spain is", "answer": " Madrid"},
)


def view(live: LiveModel, controls: Callable[[], None]) -> View[LensState, LensAnswer]:
    """The prompt, what is looked for, and how; below it what was found, the grid, and the last position."""
    state = LensState()
    prompt = gr.Textbox(label="Text", value=state.prompt, lines=2, max_length=2000)
    with gr.Row():
        answer_box = gr.Textbox(
            label="Answer",
            value=state.answer,
            max_length=100,
            info="One token with its space; empty: what the model says",
        )
        lens = gr.Radio(["plain", "tuned"], value=state.lens, label="Lens")
        show_what = gr.Radio(["rank", "probability"], value=state.show, label="Colour")
    controls()
    found = gr.HTML(elem_classes=["mech-found"])
    grid = figure_view("Layers and positions")
    by_layer = figure_view("The last position")
    return View(
        inputs={"prompt": prompt, "answer": answer_box, "lens": lens, "show": show_what},
        outputs=[found, grid, by_layer],
        at_once=[lens, show_what],
        show=lambda found: [
            found_html(found),
            figure_html(found.cells_figure, found.cells),
            figure_html(found.by_layer_figure, found.by_layer),
        ],
    )


def found_html(found: LensAnswer) -> str:
    """Where the answer is settled, and what each position ends with, as text."""
    rows = "".join(
        f"<tr><td>{pos}</td><td><code>{escape(visible(token))}</code></td>"
        f"<td>{commit_words(found, pos)}</td><td>{escape(top)}</td></tr>"
        for pos, (token, top) in enumerate(zip(found.tokens, last_tops(found), strict=True))
    )
    head = "<th>position</th><th>token</th><th>commits after</th><th>says in the end</th>"
    return (
        f"<p>{escape(summary(found)[0])}</p><details><summary>Where each position commits</summary>"
        f'<div class="mech-scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details>"
    )


def last_tops(found: LensAnswer) -> list[str]:
    """The likeliest tokens of each position after the last block."""
    cells = found.cells
    return cells.loc[cells["blocks_read"] == found.n_layers, "top_tokens"].tolist()


def commit_words(found: LensAnswer, position: int) -> str:
    if found.grid.rank[position, -1] != 0:
        return "never"
    return f"{int(found.commits[position])} of {found.n_layers} blocks"


def summary(found: LensAnswer) -> list[str]:
    """When the answer is settled, in a sentence, and the model's own words."""
    rank = int(found.grid.rank[-1, -1])
    probability = float(np.exp(found.grid.logprob[-1, -1]))
    said = visible(found.answer)
    if found.commit_layer is None:
        first = f"{said} is not what the model says: rank {rank:,} in the end, probability {probability:.3g}."
    else:
        first = (
            f"{said} stays the likeliest token after {found.commit_layer} of {found.n_layers} blocks; "
            f"its probability in the end is {probability:.3g}."
        )
    return [first, f"likeliest in the end: {last_tops(found)[-1]}"]


PANEL: Panel[LensState, LensAnswer] = Panel(
    name="lens",
    title="Logit lens",
    about="What the model would say if it stopped after each block, at each position of a text.",
    state=LensState,
    examples=examples,
    answer=answer,
    spec=spec,
    view=view,
    summary=summary,
)
