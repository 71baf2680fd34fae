"""`--smoke`: every panel once, what it found or why not, and the seconds."""

from __future__ import annotations

from dataclasses import replace

from engine.demo.live_model import LiveModel
from engine.demo.smoke import smoke
from engine.errors import DemoError
from engine.models.micro import micro_model
from tests.demo.toy_panel import PANEL


def refusing(*_: object) -> None:
    raise DemoError("it cannot")


def test_each_panel_says_what_it_found_and_one_that_cannot_stops_no_other() -> None:
    live = LiveModel.of(micro_model())
    broken = replace(PANEL, name="broken", stream=None, answer=refusing)
    first, second = smoke(live, [broken, PANEL])
    assert (first.panel, first.problem, first.found) == ("broken", "it cannot", [])
    assert (second.panel, second.problem) == ("toy", "")
    assert second.found == [f"picked nothing on {live.name}"]
    assert 0 < second.seconds < 5
