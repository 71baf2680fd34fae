"""A panel that does what the shell must bear: it is slow, streams, refuses, breaks, and is clicked on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any, Literal

import gradio as gr
import pandas as pd
from pydantic import Field

from engine.demo.charts import figure_html, figure_view
from engine.demo.live_model import LiveModel
from engine.demo.panel import Cancelled, Click, Datum, Panel, PanelState, TellProgress, View
from engine.errors import DemoError
from engine.evidence.result import Figure

FIGURE = Figure("bar", "words", {"x": "word", "y": "letters"}, "Letters of each word")


class ToyState(PanelState):
    text: Annotated[str, Field(min_length=1, max_length=200)] = "one three"
    seconds: Annotated[float, Field(ge=0, le=60)] = 0.0
    does: Literal["answer", "refuse", "break"] = "answer"
    picked: Annotated[str, Field(max_length=50)] = ""
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToyAnswer:
    words: pd.DataFrame
    said: str


running: list[str] = []
"""Texts that are being computed, so that a test sees when a request has ended."""


def answers(
    live: LiveModel, state: ToyState, progress: TellProgress, cancelled: Cancelled
) -> Iterator[ToyAnswer]:
    running.append(state.text)
    try:
        if state.does == "refuse":
            raise DemoError("this text is <b>refused</b>", expected="another", hint="anything else")
        if state.does == "break":
            raise ZeroDivisionError("/home/somebody/secret")
        words = [*state.text.split(), *state.more]
        table = pd.DataFrame({"word": words, "letters": [len(word) for word in words]})
        began = time.monotonic()
        yield ToyAnswer(table, "first part")
        while (done := time.monotonic() - began) < state.seconds:
            progress(done / state.seconds, "counting")
            time.sleep(0.02)
        yield ToyAnswer(table, f"picked {state.picked or 'nothing'} on {live.model.name}")
    finally:
        running.remove(state.text)


def answer(live: LiveModel, state: ToyState, progress: TellProgress, cancelled: Cancelled) -> ToyAnswer:
    return list(answers(live, state, progress, cancelled))[-1]


def view(live: LiveModel, controls: Callable[[], None]) -> View[ToyState, ToyAnswer]:
    text = gr.Textbox("one three", label="Words")
    seconds = gr.Number(0, label="Seconds")
    does = gr.Radio(["answer", "refuse", "break"], value="answer", label="Does")
    picked = gr.Textbox("", visible="hidden", label="Picked")
    more = gr.JSON([], visible="hidden", label="More")
    controls()
    said = gr.HTML(elem_classes=["toy-said"])
    chart = figure_view("Words", clickable=True)
    return View(
        inputs={"text": text, "seconds": seconds, "does": does, "picked": picked, "more": more},
        outputs=[said, chart],
        show=lambda found: [f"<p>{escape(found.said)}</p>", figure_html(FIGURE, found.words)],
        clicks=[Click(chart, then)],
    )


def then(state: ToyState, datum: Datum) -> ToyState:
    if "word" not in datum:
        raise DemoError("this mark stands for no word")
    return state.model_copy(update={"picked": str(datum["word"])})


def spec(state: ToyState, model: str) -> dict[str, Any]:
    return {"family": "logit_lens", "model": model, "prompts": {"rows": [{"clean": state.text}]}}


PANEL: Panel[ToyState, ToyAnswer] = Panel(
    name="toy",
    title="Toy",
    about="A panel of the tests.",
    state=ToyState,
    examples=lambda live: [ToyState(), ToyState(text="a longer example", picked="longer")],
    answer=answer,
    stream=answers,
    spec=spec,
    view=view,
    summary=lambda found: [found.said],
)
