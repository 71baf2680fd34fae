"""The frame around the panels: tabs, examples, run and cancel, progress, errors, the link and the spec.

All that differs between panels is in `panels/`. The address holds the whole state of the panel that is shown
(`address.py`), so that the server remembers nothing of a reader.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
import yaml
from gradio.components import Component

from engine.demo.address import MOST_CHARACTERS, checked_state, chosen_panel, from_query, to_query
from engine.demo.charts import clicked_datum
from engine.demo.event_loop import within_loop
from engine.demo.limits import LIMITS, RequestLimits
from engine.demo.live_model import LiveModel
from engine.demo.panel import Click, Panel, PanelState, View, example_label
from engine.demo.request import ProgressNote, answered
from engine.errors import EngineError

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""How every event is declared: none is an API of its own."""
COMPUTING: dict[str, Any] = {**PRIVATE, "concurrency_id": "model", "concurrency_limit": 1}
"""How events are declared that compute on the model: one at a time, the others wait in the queue."""

Values = Sequence[Any]


@dataclass(frozen=True)
class Frame:
    """A panel with the components that the shell has around it."""

    panel: Panel[Any, Any]
    view: View[Any, Any]
    examples: Sequence[PanelState]
    picker: gr.Dropdown
    run: gr.Button
    cancel: gr.Button
    status: gr.HTML
    links: gr.HTML

    @property
    def inputs(self) -> list[Component]:
        return list(self.view.inputs.values())

    @property
    def shown(self) -> list[Component]:
        """What a request changes."""
        return [self.status, self.links, *self.view.outputs]

    def state(self, values: Values) -> PanelState:
        """The state that the inputs hold; DemoError where they hold none."""
        return checked_state(self.panel, dict(zip(self.view.inputs, values, strict=True)))

    def values(self, state: PanelState) -> list[Any]:
        """What the inputs show of a state."""
        found = [getattr(state, name) for name in self.view.inputs]
        # A component that shows several values takes a list; a state, which cannot be changed, has a tuple.
        return [list(value) if isinstance(value, tuple) else value for value in found]

    def message(self, status: str) -> list[Any]:
        """A status with everything else left as it is."""
        return [status, *[gr.skip() for _ in self.shown[1:]]]

    def cleared(self, status: str) -> list[Any]:
        """A status with nothing below it, which would belong to another state."""
        return [status, "", *[gr.skip() for _ in self.view.outputs]]


def build_app(
    live: LiveModel, panels: Sequence[Panel[Any, Any]], limits: RequestLimits = LIMITS
) -> gr.Blocks:
    """The app as Gradio blocks, on a model that may still be loading."""
    return within_loop(lambda: _blocks(live, panels, limits))


def _blocks(live: LiveModel, panels: Sequence[Panel[Any, Any]], limits: RequestLimits) -> gr.Blocks:
    # How often Gradio sums up its requests for a monitoring page, which is not served here.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
    with gr.Blocks(title=f"mech demo: {live.name}", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            f"<h1>mech demo</h1><p>Live on <code>{escape(live.name)}</code>. The address holds all that you "
            "see; nothing is kept on the server.</p>",
            elem_classes=["mech-head"],
        )
        with gr.Tabs(selected=panels[0].name) as tabs:
            frames = [_frame(panel, live) for panel in panels]
        opening = _wire_address(blocks, tabs, frames, live, limits)
        for frame in frames:
            _wire(frame, live, limits, opening)
    # Further requests than this are turned away rather than kept waiting.
    blocks.queue(max_size=limits.waiting, default_concurrency_limit=4)
    return blocks


@dataclass(frozen=True)
class _Controls:
    """What the shell puts between a panel's inputs and its outputs."""

    run: gr.Button
    cancel: gr.Button
    status: gr.HTML


def _controls() -> _Controls:
    with gr.Row():
        run = gr.Button("Run", variant="primary", elem_classes=["mech-run"])
        cancel = gr.Button("Cancel", variant="secondary", elem_classes=["mech-cancel"])
    return _Controls(run, cancel, gr.HTML("", elem_classes=["mech-status"]))


def _frame(panel: Panel[Any, Any], live: LiveModel) -> Frame:
    with gr.Tab(panel.title, id=panel.name, elem_id=f"panel-{panel.name}"):
        gr.HTML(f"<p>{escape(panel.about)}</p>", elem_classes=["mech-about"])
        examples = list(panel.examples(live))
        names = [(example_label(example), number) for number, example in enumerate(examples)]
        picker = gr.Dropdown(names, value=None, label="Examples", filterable=False)
        made: list[_Controls] = []
        view = panel.view(live, lambda: made.append(_controls()))
        controls = made[0]
        links = gr.HTML("", elem_classes=["mech-links"])
    return Frame(panel, view, examples, picker, controls.run, controls.cancel, controls.status, links)


def _wire(frame: Frame, live: LiveModel, limits: RequestLimits, opening: Any) -> None:
    """Whatever runs a panel: its button, Enter in a line of text, an example, a click on a mark.

    Its cancel button ends all of these, and what `opening` the page began.
    """
    width = len(frame.inputs)

    async def run(*values: Any) -> AsyncIterator[list[Any]]:
        try:
            state = frame.state(values)
        except EngineError as error:
            yield frame.cleared(problem_html(error))
            return
        async for shown in answers(frame, live, state, limits):
            yield shown

    async def example(number: int | None) -> AsyncIterator[list[Any]]:
        if number is None:
            yield [gr.skip()] * (width + len(frame.shown))
            return
        state = frame.examples[number]
        async for shown in answers(frame, live, state, limits):
            yield [*frame.values(state), *shown]

    starts: list[Any] = [frame.run.click]
    starts += [box.submit for box in frame.inputs if isinstance(box, gr.Textbox)]
    at_once: Sequence[Any] = frame.view.at_once  # whose events are made by Gradio
    starts += [getattr(box, "release", None) or box.input for box in at_once]
    events: list[Any] = [
        gr.on(starts, run, inputs=frame.inputs, outputs=frame.shown, **COMPUTING),
        frame.picker.input(example, frame.picker, [*frame.inputs, *frame.shown], **COMPUTING),
    ]
    for click in frame.view.clicks:
        marked = _clicked(frame, click, live, limits)
        on_click: Callable[..., Any] = click.chart.click  # pyright: ignore[reportAttributeAccessIssue]
        events.append(on_click(marked, frame.inputs, [*frame.inputs, *frame.shown], **COMPUTING))
    ended = [*events, opening]
    # Through the queue too, whose route is the only one that calls a function; it waits for nobody there.
    # Where Gradio closes the page's stream with what is cancelled, this does not come: demo.js says it then.
    frame.cancel.click(lambda: status_html("Cancelled."), None, frame.status, cancels=ended, **PRIVATE)


def _clicked(
    frame: Frame, click: Click[Any], live: LiveModel, limits: RequestLimits
) -> Callable[..., AsyncIterator[list[Any]]]:
    """What a click on a mark of a chart runs: the state that the panel makes of it."""

    async def clicked(event: gr.EventData, *values: Any) -> AsyncIterator[list[Any]]:
        try:
            state = click.then(frame.state(values), clicked_datum(event))
        except EngineError as error:
            yield [*[gr.skip() for _ in values], *frame.message(problem_html(error))]
            return
        async for shown in answers(frame, live, state, limits):
            yield [*frame.values(state), *shown]

    # Gradio reads annotations as they stand, and here they are strings.
    clicked.__annotations__["event"] = gr.EventData
    return clicked


def _wire_address(
    blocks: gr.Blocks, tabs: gr.Tabs, frames: Sequence[Frame], live: LiveModel, limits: RequestLimits
) -> Any:
    """On opening, show what the address says; `demo.js` runs a panel whose tab is chosen first."""
    everything = [component for frame in frames for component in [*frame.inputs, *frame.shown]]
    by_name = {frame.panel.name: frame for frame in frames}

    def only(frame: Frame, values: Values) -> list[Any]:
        """Values for one panel, all others left as they are."""
        found: list[Any] = []
        for other in frames:
            amount = len(other.inputs) + len(other.shown)
            found += values if other is frame else [gr.skip() for _ in range(amount)]
        return found

    async def opened(request: gr.Request) -> AsyncIterator[list[Any]]:
        query = "?" + str(request.query_params)
        frame = frames[0]
        problem = ""
        try:
            frame = by_name[chosen_panel(query, [f.panel for f in frames]).name]
            state = from_query(query, frame.panel)
        except EngineError as error:
            problem = problem_html(error)
            state = frame.panel.state()
        chosen = gr.Tabs(selected=frame.panel.name)
        if problem:
            yield [chosen, *only(frame, [*frame.values(state), *frame.cleared(problem)])]
            return
        async for shown in answers(frame, live, state, limits):
            yield [chosen, *only(frame, [*frame.values(state), *shown])]

    opened.__annotations__["request"] = gr.Request
    return blocks.load(opened, None, [tabs, *everything], **COMPUTING)


async def answers(
    frame: Frame, live: LiveModel, state: PanelState, limits: RequestLimits = LIMITS
) -> AsyncIterator[list[Any]]:
    """Values for what a request changes: its progress, then what was found, or one message."""
    yield frame.message(status_html("Waiting for the model ..."))
    whole = None
    try:
        async for note in answered(frame.panel, live, state, limits):
            if isinstance(note, ProgressNote):
                yield frame.message(progress_html(note))
            else:
                whole = [status_html("Computing ..."), gr.skip(), *frame.view.show(note.answer)]
                yield whole
    except EngineError as error:
        yield frame.cleared(problem_html(error, to_query(frame.panel, state)))
        return
    if whole is not None:
        address = to_query(frame.panel, state)
        yield [status_html("Done.", address), links_html(frame.panel, state, live.name), *whole[2:]]


def _held_address(address: str) -> str:
    """What tells the browser the address of what is shown; nothing for one that could not be opened again."""
    return f' data-address="{escape(address)}"' if 0 < len(address) <= MOST_CHARACTERS else ""


def status_html(words: str, address: str = "") -> str:
    """A line that a screen reader is told; with an address, the one of what is shown now."""
    held = _held_address(address)
    return f'<p role="status"{held}>{escape(words)}</p>'


def progress_html(note: ProgressNote) -> str:
    percent = round(100 * min(1.0, max(0.0, note.fraction)))
    words = escape(note.words or "computing")
    return (
        f'<p role="status">{words}</p>'
        f'<progress max="100" value="{percent}" aria-label="{words}">{percent} %</progress>'
    )


def problem_html(error: EngineError, address: str = "") -> str:
    """A refusal in the panel: what is wrong, what was expected and seen, what to try."""
    rows = [("expected", error.expected), ("seen", error.seen), ("nearest", ", ".join(error.near))]
    rows.append(("try", error.hint))
    said = "".join(f"<dt>{label}</dt><dd>{escape(text)}</dd>" for label, text in rows if text)
    where = f"{error.where}: " if error.where else ""
    held = _held_address(address)
    words = f"<p>{escape(where + error.problem)}</p><dl>{said}</dl>"
    return f'<div class="mech-problem" role="alert"{held}>{words}</div>'


def links_html(panel: Panel[Any, Any], state: PanelState, model: str) -> str:
    """The link to this state and the spec of the experiment on screen, each to be copied."""
    query = to_query(panel, state)
    if len(query) > MOST_CHARACTERS:
        link = (
            f"<p>This state is too long for a link: {len(query):,} characters, of at most "
            f"{MOST_CHARACTERS:,}. Its spec has all of it.</p>"
        )
    else:
        link = (
            f'<p><a class="mech-permalink" href="{escape(query)}">Link to what you see</a> '
            '<button type="button" data-copy="link">Copy link</button></p>'
        )
    try:
        text = spec_yaml(panel.spec(state, model))
    except EngineError as error:
        return link + f"<p>No spec of this: {escape(error.problem)}.</p>"
    return (
        f"{link}<details><summary>The experiment as a spec</summary>"
        f'<p><button type="button" data-copy="spec">Copy as spec</button> '
        "<code>mech run --spec FILE</code> measures it.</p>"
        f'<pre tabindex="0" aria-label="Spec">{escape(text)}</pre></details>'
    )


def spec_yaml(experiment: Mapping[str, Any]) -> str:
    """A flat experiment as the YAML of a spec file."""
    return yaml.safe_dump(dict(experiment), sort_keys=False, allow_unicode=True, width=100)
