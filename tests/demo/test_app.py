"""What the shell says around a panel: messages, links, the spec."""

from __future__ import annotations

import yaml

from engine.demo.app import links_html, problem_html, progress_html, spec_yaml, status_html
from engine.demo.request import ProgressNote
from engine.errors import DemoError
from tests.demo.toy_panel import PANEL, ToyState


def test_every_word_of_a_message_is_text() -> None:
    error = DemoError("<i>", where="<u>", expected="<b>", seen="<s>", near=["<em>"], hint="<p>")
    html = problem_html(error, '?"<x>')
    for tag in ("<i>", "<u>", "<b>", "<s>", "<em>", "<x>"):
        assert tag not in html
    assert 'role="alert"' in html and "data-address" in html
    assert "<script>" not in status_html("<script>", '"><script>')
    assert "<script>" not in progress_html(ProgressNote(0.5, '"><script>'))


def test_progress_stays_between_nothing_and_all() -> None:
    assert 'value="0"' in progress_html(ProgressNote(-1, ""))
    assert 'value="100"' in progress_html(ProgressNote(7, ""))


def test_link_and_spec_hold_what_was_typed_as_text() -> None:
    html = links_html(PANEL, ToyState(text='</pre><script>x</script> "&'), "a-model")
    assert "<script>" not in html and 'href="?panel=toy&amp;text=' in html


def test_a_spec_comes_back_from_its_yaml_as_it_was() -> None:
    text = "yes: [no], 0x1 \U0001f600\n - é\t'\" #"
    experiment = PANEL.spec(ToyState(text=text), "a-model")
    assert yaml.safe_load(spec_yaml(experiment)) == experiment


def test_a_panel_without_a_spec_says_why_and_keeps_its_link() -> None:
    class Refusing:
        name = "toy"
        state = ToyState

        def spec(self, state: ToyState, model: str) -> dict:
            raise DemoError("no <family> does this")

    html = links_html(Refusing(), ToyState(), "a-model")  # pyright: ignore[reportArgumentType]
    assert "no &lt;family&gt; does this" in html and "mech-permalink" in html
