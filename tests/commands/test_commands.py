"""What every command keeps: help with an example, and a refusal that is one message."""

from __future__ import annotations

import pytest

from engine.cli import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_with_an_example(engine, command):
    answer = engine(command, "--help")
    assert answer.code == 0
    assert "Example:" in answer.out


BAD = {
    "no cluster": (["build", "--cluster", "nowhere"], "--cluster"),
    "an axis of no parameter": (
        ["sweep", "--base", "investigations/planted/spec.yaml", "--axis", "parameters.named_deph=1"],
        "nearest: parameters.named_depth",
    ),
    "a sweep without SAEs": (
        ["analyze-sae-stability", "--sweep", "investigations/planted/spec.yaml"],
        "polysemanticity_sae",
    ),
    "an unknown investigation to check": (["check", "plantd"], "nearest: planted"),
    "an unknown investigation to publish": (["publish", "plantd"], "nearest: planted"),
    "an unknown investigation": (["build", "plantd"], "planted"),
    "an unknown experiment": (["run", "--name", "planted/lense"], "planted/lens"),
    "neither name nor spec": (["run"], "--spec FILE"),
    "a missing spec": (["run", "--spec", "nowhere.yaml"], "nowhere.yaml"),
    "a budget in words": (["build", "--budget", "soon"], "10m"),
    "an unknown family": (["families", "logit_lense"], "logit_lens"),
    "an unknown run": (["report", "--run-id", "9"], "engine run --name"),
    "an unknown model": (["models", "get", "smollm2-135m"], "smollm2-135m-instruct"),
    "a bad slug": (["new", "My Question"], "my-question"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refusal_is_one_message_and_exit_status_two(engine, project, case):
    arguments, needed = BAD[case]
    answer = engine(*arguments)
    assert answer.code == 2
    assert needed in answer.err
    assert "Traceback" not in answer.err


def test_outside_a_project_says_so(engine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = engine("build")
    assert (answer.code, "mkdocs.yml" in answer.err) == (2, True)
    assert "--root" not in answer.err  # there is no such option
