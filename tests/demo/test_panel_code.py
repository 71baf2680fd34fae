"""The hash of a panel's code: what an answer follows from is in it, what draws it and what it says is not."""

from pathlib import Path

import pytest

from engine.demo.panel_code import panel_codes

PANEL = '''\
"""A panel."""
import gradio as gr
from engine.demo.panel import PanelState
from engine.demo.panels.reading import answer
from engine.lab import lens

class State(PanelState):
    text: str = "a"
    """What is read."""

def spec(state, model):
    return {"family": lens.NAME}

def summary(found):
    return [str(found)]

def view(live, controls):
    return drawn()

def drawn():
    return gr.HTML("drawn")

PANEL = Panel(name="made-up", title="T", state=State, answer=answer, spec=spec, view=view, summary=summary)
'''
READING = """\
from engine.demo.live_model import LiveModel
from engine.lab.lens import read

def answer(live: LiveModel, state, progress, cancelled):
    # Once.
    return read(live.model, state.text)

def unused():
    return 1
"""
LENS = '''\
NAME = "logit_lens"
ROWS = 4

def read(model, text):
    """Reads."""
    return model(text, ROWS)

def another():
    return 2
'''
LIVE = "class LiveModel:\n    most = 8\n"
FILES = {
    "demo/panels/panel.py": PANEL,
    "demo/panels/reading.py": READING,
    "lab/lens.py": LENS,
    "demo/live_model.py": LIVE,
    "demo/panel.py": "class PanelState:\n    pass\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "engine"
    for name, text in FILES.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    return package


def changed(package: Path, file: str, old: str, new: str) -> bool:
    """Whether the panel's hash is another one once `old` is `new` in one of its files."""
    before = panel_codes(package)
    text = (package / file).read_text()
    assert text.count(old) == 1
    (package / file).write_text(text.replace(old, new))
    after = panel_codes(package)
    assert list(before) == list(after) == ["made-up"]
    return before != after


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("demo/panels/panel.py", '= "a"', '= "b"'),  # the default state
        ("demo/panels/panel.py", "text: str", "text: str | None"),
        ("demo/panels/panel.py", '"family":', '"kind":'),
        ("demo/panels/panel.py", "[str(found)]", "[repr(found)]"),
        ("demo/panels/panel.py", 'title="T"', 'title="U"'),
        ("demo/panels/reading.py", "state.text)", "state.text + '!')"),
        ("lab/lens.py", "model(text, ROWS)", "model(text, ROWS, 1)"),
        ("lab/lens.py", "ROWS = 4", "ROWS = 5"),
        ("lab/lens.py", '"logit_lens"', '"tuned_lens"'),  # a name of a module that is imported whole
    ],
)
def test_what_an_answer_follows_from_is_in_it(package: Path, file: str, old: str, new: str) -> None:
    assert changed(package, file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("demo/panels/panel.py", '"drawn"', '"painted"'),
        ("demo/panels/panel.py", "What is read.", "The text."),
        ("demo/panels/reading.py", "# Once.", "# At once."),
        ("demo/panels/reading.py", "return 1", "return 3"),
        ("demo/live_model.py", "most = 8", "most = 9"),
        ("lab/lens.py", '"""Reads."""', '"""Reads a text."""'),
        ("lab/lens.py", "return 2", "return 3"),
    ],
)
def test_what_draws_it_and_what_is_not_used_is_not(package: Path, file: str, old: str, new: str) -> None:
    assert not changed(package, file, old, new)


def test_every_panel_of_the_demo_has_one() -> None:
    found = panel_codes()
    from engine.demo.panel_list import PANELS

    assert set(found) == {panel.name for panel in PANELS}
    assert len(set(found.values())) == len(found)
