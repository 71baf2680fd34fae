"""Activation patching of a pair as it is typed: the map by layer and position, and one cell of it up close.

1. Take both prompts in tokens: of equal length, with one token for each answer.
2. Patch one site at every layer and position (of z, one head): the map. The effect of a patch is the logit
   difference after it, on a scale where 0 is the run patched into and 1 the run patched from.
3. Patch the chosen cell in a whole forward: what the model says next before and after.
4. Of z, patch every head at the cell's position too.

The instruments are those of the family `patching_grid`, which measures what is on screen from a copied spec.
One pair is an anecdote: `circuit_patching` is the family for findings.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from threading import Lock
from typing import Annotated, Any, Literal

import gradio as gr
import pandas as pd
from pydantic import Field

from engine.demo.cell_table import CellTable
from engine.demo.charts import ON_LOAD, figure_html, figure_view
from engine.demo.live_model import LiveModel
from engine.demo.pair_tokens import alignment_html, scrolled, typed_html
from engine.demo.panel import Cancelled, Click, Datum, Panel, PanelState, TellProgress, View
from engine.demo.token_alignment import TokenAlignment
from engine.demo.typed_pair import MOST_PATCHED, TypedPair, require_pair
from engine.errors import DemoError
from engine.evidence.builder import Evidence
from engine.evidence.result import Figure
from engine.families.patching_grid import directed, position_in, require_layer
from engine.lab.facts import with_corrupted
from engine.lab.patch_grid import (
    LEAST_GAP,
    PatchGrid,
    PatchOutcome,
    heads_grid,
    patch_grid,
    patch_outcome,
    require_place,
)
from engine.lab.patch_pairs import PatchPairs
from engine.lab.patch_tables import (
    RUNS,
    draw_heads,
    draw_map,
    heads_table,
    map_table,
    next_tokens,
    visible_token,
)

EXAMPLES = 6
MOST_RECENT = 16
Text = Annotated[str, Field(max_length=2000)]
Word = Annotated[str, Field(max_length=100)]
Direction = Literal["denoising", "noising"]
SITES = {"residual stream": "resid_pre", "attention": "attn_out", "MLP": "mlp_out", "heads": "z"}
DIRECTIONS = {
    "clean into corrupted (denoising)": "denoising",
    "corrupted into clean (noising)": "noising",
}
NO_CELL = {"layer": 0, "position": -1}
"""The cell of a pair of which none was chosen yet: every prompt has it."""


ABOUT_CELLS = "Layer, position and head are the cell looked at closely; a click on the map chooses another."
ABOUT_SECONDS = (
    "On two cores a map takes about two seconds where eight tokens follow from the first difference on, ten "
    f"for 25, half a minute for {MOST_PATCHED}, the most."
)


class PatchingState(PanelState):
    clean: Text = "Fact: The government of France is based in the capital city of"
    """The prompt whose answer is looked for."""
    corrupted: Text = "Fact: The government of Italy is based in the capital city of"
    """The same prompt of another subject, of as many tokens."""
    answer: Word = " Paris"
    """What the clean prompt asks for: one token."""
    wrong_answer: Word = " Rome"
    """What the corrupted prompt asks for: one token."""
    site: Literal["resid_pre", "attn_out", "mlp_out", "z"] = "resid_pre"
    """What is patched: the stream before a block, what its attention or its MLP writes, or one head's z."""
    direction: Direction = "denoising"
    """Which run is patched into."""
    layer: Annotated[int, Field(ge=0, le=999)] = 0
    """The layer of the chosen cell."""
    position: Annotated[int, Field(ge=-999, le=999)] = 5
    """The position of the chosen cell, from 0; from the end where negative."""
    head: Annotated[int, Field(ge=0, le=999)] = 0
    """Which head is patched where the site is z."""

    @property
    def pair(self) -> TypedPair:
        return TypedPair.of(self.clean, self.corrupted, self.answer, self.wrong_answer)

    @property
    def patched_head(self) -> int | None:
        return self.head if self.site == "z" else None


@dataclass(frozen=True)
class PatchingAnswer:
    """The map of a pair, and what its chosen cell does; `position` is the cell's, from 0.

    `map` is the table that `map_figure` draws; `heads_map` is None where no head is patched.
    """

    state: PatchingState
    alignment: TokenAlignment
    grid: PatchGrid
    outcome: PatchOutcome
    position: int
    map: pd.DataFrame
    map_figure: Figure
    next_tokens: pd.DataFrame
    heads_map: pd.DataFrame | None = None
    heads_map_figure: Figure | None = None

    @property
    def effect(self) -> float:
        """The chosen cell's."""
        return float(self.grid.effects[self.state.layer, self.position])

    @property
    def logit_diff(self) -> float:
        """After the patch of the chosen cell."""
        return float(self.grid.patched[self.state.layer, self.position])


class RecentGrids:
    """The maps of the latest requests, so that a click on a cell computes no second one.

    They go by a hash of what was asked and are numbers alone: no text of a reader is kept.
    """

    def __init__(self, most: int = MOST_RECENT) -> None:
        self.most = most
        self._grids: OrderedDict[str, PatchGrid] = OrderedDict()
        self._lock = Lock()

    def get(self, asked: Sequence[object], make: Callable[[], PatchGrid]) -> PatchGrid:
        key = hashlib.sha256(repr(asked).encode()).hexdigest()
        with self._lock:
            found = self._grids.get(key)
        grid = make() if found is None else found
        with self._lock:
            self._grids[key] = grid
            self._grids.move_to_end(key)
            while len(self._grids) > self.most:
                self._grids.popitem(last=False)
        return grid


RECENT = RecentGrids()


def examples(live: LiveModel) -> list[PatchingState]:
    """Pairs of the investigation of recall, the first of each of some relations; the default is the first."""
    table = live.prompts("facts").table.drop_duplicates("relation").head(EXAMPLES)
    # Where the last token takes the fact over in many models: a cell that has something to tell.
    layer = 2 * live.shape.n_layers // 3 if live.shape else 0
    texts = ["clean", "corrupted", "answer", "wrong_answer"]
    rows = [{name: row[name] for name in texts} for row in table.to_dict("records")[1:]]
    return [PatchingState(), *(PatchingState(**row, layer=layer, position=-1) for row in rows)]


def answer(
    live: LiveModel, state: PatchingState, progress: TellProgress, cancelled: Cancelled
) -> PatchingAnswer:
    """Patch a pair everywhere and at one cell; DemoError or DataError for what cannot be patched."""
    model = live.model
    # 1. Both prompts in tokens. What keeps them from being patched is said before anything is computed.
    alignment = require_pair(model, state.pair)
    pairs = with_corrupted(live.lab(prompts=live.prompts([state.pair.row])).tokenized())
    pair = directed(pairs, state.direction)
    length = len(alignment.columns)
    require_layer(model, state.layer)
    require_place(model, state.site, state.patched_head)
    position = position_in(length, state.position, "clean")

    # 2. The map.
    grid = whole_map(live, state, pair, progress)
    if not grid.has_scale:
        raise DemoError(
            "both prompts have the same logit difference of these answers: there is nothing to restore",
            expected=f"two runs that are {LEAST_GAP} logits apart, or more",
            seen=f"{grid.source:.4f} and {grid.base:.4f} logits",
            hint="answers that the two prompts tell apart",
        )
    ev = Evidence("prompt", ["typed"])
    draw_map(ev, map_table(model, pair, grid), state.site, state.direction, state.patched_head)

    # 3. The chosen cell.
    progress(0.9, f"patching layer {state.layer}, position {position}")
    outcome = patch_outcome(model, pair, state.site, state.layer, position, state.patched_head)

    # 4. Every head at the cell's position.
    if state.site == "z":
        progress(0.95, f"patching every head at position {position}")
        place = f"position {position} {alignment.columns[position].clean}"
        draw_heads(ev, heads_table(grid, heads_grid(model, pair, position)), state.direction, place)
    result = ev.result()
    return PatchingAnswer(
        state=state,
        alignment=alignment,
        grid=grid,
        outcome=outcome,
        position=position,
        map=result.tables["map"],
        map_figure=result.figures["map"],
        next_tokens=next_tokens(model, outcome),
        heads_map=result.tables.get("heads_map"),
        heads_map_figure=result.figures.get("heads_map"),
    )


def whole_map(live: LiveModel, state: PatchingState, pair: PatchPairs, progress: TellProgress) -> PatchGrid:
    """The map of a pair, computed unless it is one of the latest."""
    ids = (pair.base, pair.source, pair.answer, pair.wrong_answer)
    asked = [live.model.hash, state.site, state.patched_head, *(tensor.tolist() for tensor in ids)]
    words = f"patching {pair.base.shape[1]} positions of {live.model.n_layers} layers"

    def told(share: float) -> None:
        progress(0.05 + 0.8 * share, f"{words}: {share:.0%}")

    return RECENT.get(asked, lambda: patch_grid(live.model, pair, state.site, state.patched_head, told))


def spec(state: PatchingState, model: str) -> dict[str, Any]:
    """The map as an experiment, of the pair and of its swap; its cell is named by the parameters."""
    cell = {"layer": state.layer, "position": state.position}
    head = {} if state.patched_head is None else {"head": state.patched_head}
    return {
        "name": "demo-patching",
        "family": "patching_grid",
        "model": model,
        "prompts": {"rows": state.pair.rows},
        "parameters": {"site": state.site, "direction": state.direction, **cell, **head},
    }


def view(live: LiveModel, controls: Callable[[], None]) -> View[PatchingState, PatchingAnswer]:
    """The pair and its tokens, what is patched; below it the cell, the map and, of z, the heads."""
    state = PatchingState()
    clean = gr.Textbox(label="Clean prompt", value=state.clean, max_length=2000)
    corrupted = gr.Textbox(label="Corrupted prompt", value=state.corrupted, max_length=2000)
    with gr.Row():
        right = gr.Textbox(label="Answer", value=state.answer, max_length=100, info="of the clean prompt")
        wrong = gr.Textbox(
            label="Wrong answer", value=state.wrong_answer, max_length=100, info="of the corrupted prompt"
        )
    tokens = gr.HTML(elem_classes=["mech-found", "mech-tokens"])
    with gr.Row():
        site = gr.Radio(list(SITES.items()), value=state.site, label="What is patched")
        direction = gr.Radio(list(DIRECTIONS.items()), value=state.direction, label="Direction")
    with gr.Row():
        layer = gr.Number(label="Layer", value=state.layer, precision=0, min_width=100)
        position = gr.Number(label="Position", value=state.position, precision=0, min_width=100)
        head = gr.Number(
            label="Head", value=state.head, precision=0, min_width=100, info="where heads are patched"
        )
    gr.HTML(f"<p>{ABOUT_CELLS} {ABOUT_SECONDS}</p>", elem_classes=["mech-about"])
    controls()
    found = gr.HTML(elem_classes=["mech-found"])
    grid = figure_view("Layers and positions", clickable=True)
    heads = figure_view("Heads", clickable=True)
    table = gr.HTML(elem_classes=["mech-found"], js_on_load=ON_LOAD, padding=False)
    texts = [clean, corrupted, right, wrong]
    gr.on(
        [box.change for box in texts],
        lambda *typed: typed_html(live, TypedPair.of(*typed)),
        texts,
        tokens,
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
    )
    # What was chosen of another pair is no choice of this one. In the browser alone: it needs no server.
    gr.on(
        [clean.input, corrupted.input],
        None,
        None,
        [layer, position],
        js=f"() => [{NO_CELL['layer']}, {NO_CELL['position']}]",
        api_visibility="private",
        show_progress="hidden",
    )
    return View(
        inputs={
            "clean": clean,
            "corrupted": corrupted,
            "answer": right,
            "wrong_answer": wrong,
            "site": site,
            "direction": direction,
            "layer": layer,
            "position": position,
            "head": head,
        },
        outputs=[tokens, found, grid, heads, table],
        show=lambda found: [
            alignment_html(found.alignment),
            found_html(found),
            figure_html(found.map_figure, found.map),
            heads_html(found),
            map_cells(found).html(),
        ],
        clicks=[Click(component, chosen_cell) for component in (grid, heads, table)],
    )


def chosen_cell(state: PatchingState, datum: Datum) -> PatchingState:
    """The state with another cell: of the map its layer and position, of the heads their layer and head."""
    place = str(datum.get("place", ""))
    # A column of the map is called "5 ␣France": its position and its token.
    number = place.partition(" ")[0]
    cell = {"layer": datum.get("layer"), "head": datum.get("head", state.head)}
    cell["position"] = int(number) if number.isdecimal() and len(number) < 4 else state.position
    if not all(type(value) is int and 0 <= value <= 999 for value in (cell["layer"], cell["head"])):
        raise DemoError("this is no cell of the map", expected="a layer with a position, or with a head")
    return state.model_copy(update=cell)


def found_html(found: PatchingAnswer) -> str:
    """What the patch of the chosen cell does, and what the model says next in the three runs."""
    head = "".join(f'<th scope="col">{escape(run)}</th>' for run in RUNS)
    first = "".join(f"<td>{value:.3f}</td>" for value in found.outcome.logit_diffs)
    rows = [f'<tr><th scope="row">logit difference</th>{first}</tr>']
    for rank in range(1, max(found.next_tokens["rank"].tolist()) + 1):
        said = said_at(found, rank)
        cells = "".join(f"<td><code>{escape(row['token'])}</code> {percent(row)}</td>" for row in said)
        rows.append(f'<tr><th scope="row">next token {rank}</th>{cells}</tr>')
    sentences = "".join(f"<p>{escape(line)}</p>" for line in summary(found)[:-1])
    table = (
        f'<table><thead><tr><th scope="col">run</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )
    return sentences + scrolled(table, "Before and after the patch")


def said_at(found: PatchingAnswer, rank: int) -> list[dict[Any, Any]]:
    """The next token of a rank in each of the three runs."""
    return [row for row in found.next_tokens.to_dict("records") if row["rank"] == rank]


def percent(said: Mapping[Any, Any]) -> str:
    """How likely a next token is."""
    return f"{100 * said['probability']:.3g} %"


def heads_html(found: PatchingAnswer) -> str:
    """Every head at the cell's position, as a chart and as a table; nothing where no head is patched."""
    if found.heads_map is None or found.heads_map_figure is None:
        return ""
    chosen = {"layer": found.state.layer, "head": found.state.head}
    return (
        figure_html(found.heads_map_figure, found.heads_map)
        + CellTable(found.heads_map_figure, found.heads_map, chosen).html()
    )


def map_cells(found: PatchingAnswer) -> CellTable:
    """The map as a table, from the first difference on: before it every patch is without effect."""
    first = next(i for i, column in enumerate(found.alignment.columns) if column.differs)
    shown = found.map["position"] >= min(first, found.position)
    place = found.map["place"].tolist()[found.position]
    return CellTable(found.map_figure, found.map.loc[shown, :], {"layer": found.state.layer, "place": place})


def summary(found: PatchingAnswer) -> list[str]:
    """What the chosen cell does, the largest cell, what the model prefers, and what it says next."""
    state, grid = found.state, found.grid
    column = found.alignment.columns[found.position]
    tokens = column.clean if not column.differs else f"clean {column.clean}, corrupted {column.corrupted}"
    of_head = "" if state.patched_head is None else f" of head {state.head}"
    best = found.map.to_dict("records")[int(grid.effects.argmax())]
    lines = [
        f"Patching {state.site}{of_head} at layer {state.layer}, position {found.position} ({tokens}) takes "
        f"the logit difference from {grid.base:.3f} to {found.logit_diff:.3f}; the run patched from has "
        f"{grid.source:.3f}. That is an effect of {found.effect:.3f}.",
        f"The largest effect of the map is {best['effect']:.3f}, at layer {best['layer']}, position "
        f"{best['place']}: chosen on this pair, it has to be measured on others.",
        *preferences(found),
    ]
    said = [f"{row['token']} {percent(row)} {row['run']}" for row in said_at(found, 1)]
    return [*lines, f"likeliest next: {', '.join(said)}"]


def preferences(found: PatchingAnswer) -> list[str]:
    """Where a prompt does not bring its own answer, which makes a map hard to read: a sentence."""
    clean, corrupted = found.grid.source, found.grid.base
    if found.state.direction == "noising":
        clean, corrupted = corrupted, clean
    pair = found.state.pair
    right, wrong = (visible_token(text) for text in (pair.answer, pair.wrong_answer))
    said = []
    if clean <= 0:
        said.append(
            f"After the clean prompt the model prefers {wrong} to {right}: it may not know this fact."
        )
    if corrupted >= 0:
        said.append(f"After the corrupted prompt, too, it prefers {right} to {wrong}.")
    return said


PANEL: Panel[PatchingState, PatchingAnswer] = Panel(
    name="patching",
    title="Circuit patching",
    about="Where a fact can be put into a run, or taken out: one prompt's activation in the other's place.",
    state=PatchingState,
    examples=examples,
    answer=answer,
    spec=spec,
    view=view,
    summary=summary,
)
