"""What the load test reads from the app's page, takes for an error, and prints."""

import json

import pytest

from engine.demo.app import problem_html
from engine.errors import DemoError
from tests.load.demo import Examples, Request, config_of, examples_of, growth, problem_in, table


def component(number: int, kind: str, **props: object) -> dict:
    return {"id": number, "type": kind, "props": props}


def test_it_finds_the_examples_of_each_panel_in_the_page() -> None:
    examples = {"label": "Examples", "choices": [["a", 0], ["b", 1]]}
    config = {
        "components": [
            component(3, "tabitem", id="lens"),
            component(5, "dropdown", **examples),
            component(7, "dropdown", label="Dictionary", choices=[]),
            component(8, "tabitem", id="sae"),
            component(9, "dropdown", **examples),
        ],
        "dependencies": [
            {"id": 0, "targets": [[13, "click"], [5, "focus"]]},
            {"id": 1, "targets": [[5, "input"]]},
            {"id": 4, "targets": [[9, "input"]]},
        ],
    }
    page = f"<script>window.gradio_config = {json.dumps(config)};</script><script>{{}}</script>"
    assert examples_of(config_of(page)) == [Examples("lens", 1, 5, 2), Examples("sae", 4, 9, 2)]


def test_a_message_in_a_panel_is_an_error_too() -> None:
    refused = problem_html(DemoError('the "prompt" is too long', expected="less"))
    assert problem_in({"success": True, "output": {"data": ["<p>Done.</p>"]}}) == ""
    assert "is too long" in problem_in({"success": True, "output": {"data": [1, refused]}})
    assert problem_in({"success": False, "output": {}}) == "the server failed"


def test_the_table_has_each_panel_and_all_of_them() -> None:
    requests = [Request("lens", second / 10) for second in range(1, 11)] + [Request("sae", 4.0, "failed")]
    head, *rows = table(requests)
    assert head.split() == ["panel", "requests", "median", "s", "95", "%", "s", "errors"]
    assert [row.split() for row in rows] == [
        ["lens", "10", "0.55", "0.95", "0"],
        ["sae", "1", "4.00", "4.00", "1"],
        ["all", "11", "0.60", "2.50", "1"],
    ]
    assert growth(200.0, 210.0) == pytest.approx(0.05)
