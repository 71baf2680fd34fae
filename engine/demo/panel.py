"""What a panel of the demo is.

A panel is written without the shell around it. The shell (`app.py`) gives each the same frame: examples, run
and cancel, progress and errors, the link with the whole state, the spec of the experiment on screen.

    PANEL = Panel(
        name="lens",                # its value in the address: ?panel=lens
        title="Logit lens",
        about="One sentence.",
        state=LensState,            # every field has a default; the default state is the first example
        examples=examples,          # (live) -> [State]
        answer=answer,              # (live, state, progress, cancelled) -> numbers, tables and figures
        spec=spec,                  # (state, model) -> a flat experiment, valid for `mech run --spec`
        view=view,                  # (live, controls) -> View: the Gradio part
        summary=summary,            # (answer) -> lines that say what was found, for `mech demo --smoke`
    )
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from engine.demo.live_model import LiveModel

if TYPE_CHECKING:
    from gradio.components import Component


class TellProgress(Protocol):
    """Hears a fraction from 0 to 1 and a few words; raises RequestStopped where the request is to end."""

    def __call__(self, fraction: float, words: str = "", /) -> None: ...


Cancelled = Callable[[], bool]
"""Says whether the request is to end, for loops that tell no progress."""


class PanelState(BaseModel):
    """What a panel shows, as its address says it. Bounds of the fields are the panel's limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


State = TypeVar("State", bound=PanelState)
Answer = TypeVar("Answer")
Datum = Mapping[str, Any]
"""The row of its table that a mark of a chart stands for, by column."""


@dataclass(frozen=True)
class Click(Generic[State]):
    """What a click on a mark of a chart asks for: `then(state, datum)` is the state that is run next."""

    chart: Component
    then: Callable[[State, Datum], State]


@dataclass(frozen=True)
class View(Generic[State, Answer]):
    """The components of a panel. `inputs` has one for each field of the state, hidden ones included.

    A view makes its inputs, calls `controls()` where the shell's buttons and progress are to stand, and then
    makes its outputs. The model may be loading meanwhile: `live.shape` is known before it is there.

    `show(answer)` gives the values of `outputs`, in their order. A change of one of `at_once` runs the panel
    without its button, for choices whose answer is quick. `tokens` of what is typed, and the like, a
    view wires up by itself, with `api_visibility="private"` on each event.
    """

    inputs: Mapping[str, Component]
    outputs: Sequence[Component]
    show: Callable[[Answer], Sequence[Any]]
    clicks: Sequence[Click[State]] = ()
    at_once: Sequence[Component] = ()


@dataclass(frozen=True)
class Panel(Generic[State, Answer]):
    """A panel as data (see the head of this module).

    `stream` is for a panel whose answer comes in parts: it gives ever fuller answers, the last one whole. The
    others leave it out.
    """

    name: str
    title: str
    about: str
    state: type[State]
    examples: Callable[[LiveModel], Sequence[State]]
    answer: Callable[[LiveModel, State, TellProgress, Cancelled], Answer]
    spec: Callable[[State, str], dict[str, Any]]
    view: Callable[[LiveModel, Callable[[], None]], View[State, Answer]]
    summary: Callable[[Answer], Sequence[str]]
    stream: Callable[[LiveModel, State, TellProgress, Cancelled], Iterator[Answer]] | None = None

    def answers(
        self, live: LiveModel, state: State, progress: TellProgress, cancelled: Cancelled
    ) -> Iterator[Answer]:
        """The answer, in parts where the panel streams it."""
        if self.stream is None:
            yield self.answer(live, state, progress, cancelled)
        else:
            yield from self.stream(live, state, progress, cancelled)


def example_label(state: PanelState) -> str:
    """What an example is called in the list: its first text."""
    texts = [value for value in state.model_dump().values() if isinstance(value, str) and value.strip()]
    return texts[0].strip() if texts else "example"
