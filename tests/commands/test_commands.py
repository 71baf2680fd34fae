"""Commands as a person types them, on a project with a planted model: what they print and leave behind."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer.main

from engine.cli import app

COMMANDS = sorted(typer.main.get_command(app).commands)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_with_an_example(engine, command):
    answer = engine(command, "--help")
    assert answer.code == 0
    assert "Example:" in answer.out


def test_help_imports_nothing_heavy():
    heavy = "{'torch', 'altair', 'pandas', 'mkdocs', 'transformers', 'ray'}"
    code = f"""
import sys
sys.argv = ["engine", "--help"]
from engine.cli import main
try: main()
except SystemExit: pass
sys.exit(", ".join({heavy} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_build_goes_the_whole_way_and_a_second_one_measures_nothing(engine, project):
    first = engine("build")
    assert first.code == 0, first.err
    page = (project / "public/investigations/planted/index.html").read_text()
    assert 'data-verdict="supported"' in page
    assert 'data-verdict="contradicted"' in page
    assert "2 of 3" not in first.out
    again = engine("build", "--json").json
    assert [run["decision"] for run in again["plan"]["runs"]] == ["reuse"]
    assert again["concerns"] == []


def test_dry_run_measures_nothing(engine, project):
    answer = engine("build", "--dry-run")
    assert "planted/lens" in answer.out
    assert engine("runs").out.startswith("nothing was measured")
    assert not (project / "public").exists()


def test_status_names_the_input_that_changed(engine, project):
    engine("run", "--name", "planted/lens")
    assert engine("status", "--json").json[0]["state"] == "up to date"
    spec = project / "investigations/planted/spec.yaml"
    spec.write_text(
        spec.read_text().replace(
            "prompts: facts.csv", "prompts: facts.csv\n    parameters: {named_depth: 0.5}"
        )
    )
    row = engine("status", "--json").json[0]
    assert row["state"] == "stale"
    assert "named_depth" in row["reason"]
    assert "0.75 -> 0.5" in row["reason"]


def test_a_broken_sentence_needs_a_person(engine, project):
    engine("build")
    report = project / "investigations/planted/report.md"
    report.write_text(
        report.read_text().replace('"found-at-once", "contradicted"', '"found-at-once"')
        + "\nIt takes 7 blocks.\n"
    )
    answer = engine("check", "--json")
    assert answer.code == 1
    assert {c["kind"] for c in answer.json} >= {"broken-sentence", "typed-number"}
    assert engine("build").code == 0
    assert engine("build", "--strict").code == 1


def test_publish_then_a_clone_without_a_store_shows_published_numbers(engine, project):
    engine("build")
    engine("publish")
    published = next((project / "investigations/planted/published").glob("*.json"))
    assert '"commit_layer"' in published.read_text()
    tables = {path.name.split(".")[-2] for path in published.parent.glob("*.csv")}
    assert tables == {"ranks", "per_prompt"}  # what the chart draws, and what the table shows; no others
    (project / ".engine").rename(project / ".engine-elsewhere")
    assert engine("build", "--budget", "0").code == 0
    page = (project / "public/investigations/planted/index.html").read_text()
    assert "published" in page
    assert 'data-verdict="supported"' in page
    fresh = engine("build")
    assert "replicated" in fresh.out
    assert engine("diff").code == 0


def test_a_run_is_written_as_one_self_contained_page(engine, project, tmp_path):
    engine("run", "--name", "planted/lens")
    assert engine("report", "--run-id", "1", "--output", str(tmp_path)).code == 0
    page = (tmp_path / "run-1.html").read_text()
    assert "commit_layer" in page
    assert 'src="http' not in page
    assert "commit" in (tmp_path / "run-1.md").read_text()


def test_force_measures_again_and_gc_frees_the_older_run(engine, project):
    engine("run", "--name", "planted/lens")
    engine("run", "--name", "planted/lens", "--force")
    assert [r["id"] for r in engine("runs", "--json").json] == [1, 2]
    engine("runs", "gc", "--yes")
    assert [r["id"] for r in engine("runs", "--json").json] == [2]


def test_a_build_of_what_changed_begins_nothing_new_and_says_so(engine, project):
    plan = engine("build", "--changed", "--dry-run", "--json").json["plan"]["runs"]
    assert {run["decision"] for run in plan} == {"unmeasured"}
    assert all("only what changed is asked for" in run["note"] for run in plan)
    assert engine("build").code == 0
    assert engine("build", "--changed").code == 0
    assert [r["id"] for r in engine("runs", "--json").json] == [1]


def test_a_flat_spec_runs_outside_a_project(engine, project, tmp_path, monkeypatch):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    monkeypatch.chdir(outside)
    facts = project / "investigations/planted/facts.csv"
    (outside / "mine.yaml").write_text(
        f"name: mine\nfamily: logit_lens\nmodel: {project / 'model'}\nprompts: {facts}\n"
    )
    answer = engine("run", "--spec", "mine.yaml")
    assert answer.code == 0, answer.err
    assert "commit_layer" in answer.out


def test_a_new_investigation_and_a_prompt_of_markup_appear_as_text(engine, project):
    facts = project / "investigations/planted/facts.csv"
    lines = facts.read_text().splitlines()
    assert "Fact France is in" in lines[1]
    facts.write_text(
        "\n".join(
            [lines[0], lines[1].replace("Fact-France", "<script>alert(1)</script>{{ lens }}|*"), *lines[2:]]
        )
    )
    assert engine("build").code == 0
    page = (project / "public/investigations/planted/index.html").read_text()
    assert "<script>alert(1)" not in page
    shown = html.unescape(re.sub("<[^>]*>", "", page))
    assert "<script>alert(1)</script>{{ lens }}|*" in shown


def test_a_model_out_of_reach_is_no_failure_but_a_broken_run_is(engine, project, monkeypatch):
    from engine.errors import DataError, ModelUnavailable
    from engine.runs import sources

    spec = project / "investigations/planted/spec.yaml"
    (project / "model").rename(project / "first")
    shutil.copytree(project / "first", project / "second")
    both = f"models: [{project / 'first'}, {project / 'second'}]"
    spec.write_text(spec.read_text().replace(f"model: {project / 'model'}", both))
    load = sources._load_model

    def refuse(error):
        def loading(name, *rest):
            if name.endswith("second"):
                raise error
            return load(name, *rest)

        monkeypatch.setattr(sources, "_load_model", loading)

    refuse(ModelUnavailable("the hub is out of reach"))
    told = engine("build", "--strict", "--json")
    assert (told.code, told.json["failed"]) == (0, {})
    refuse(DataError("its prompts do not fit"))
    told = engine("build", "--strict", "--json")
    assert told.code == 1
    assert "its prompts do not fit" in next(iter(told.json["failed"].values()))


def test_a_sweep_measured_by_two_processes_is_what_one_measures(engine, project):
    base = ("--base", "investigations/planted/spec.yaml", "--axis", "parameters.named_depth=0.5,0.75")
    answer = engine("sweep", *base, "--execute", "--jobs", "2", "--json")
    assert answer.code == 0, answer.err
    assert [row["point"] for row in answer.json] == [{"named_depth": 0.5}, {"named_depth": 0.75}]
    status = engine("status", "--json").json[0]  # the investigation's own run is the second point
    assert status["state"] == "up to date"
    alone = engine("run", "--name", "planted/lens", "--force", "--json").json[0]
    assert alone["measurements"] == answer.json[1]["measurements"]


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
    "an unknown run": (["report", "--run-id", "9"], "engine runs"),
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


def _start(project: Path) -> subprocess.Popen:
    """`engine build` in a process of its own, with one thread so that several do not wait for each other."""
    command = [sys.executable, "-c", "from engine.cli import main; main()", "build"]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=project, env=alone, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_two_builds_at_once_measure_a_run_once(engine, project):
    both = [_start(project), _start(project)]
    assert [building.wait(timeout=120) for building in both] == [0, 0]
    assert len(engine("runs", "--json").json) == 1


def test_a_build_killed_at_any_moment_loses_nothing(engine, project):
    for seconds in (0.6, 1.5, 2.5, 3.5):
        building = _start(project)
        time.sleep(seconds)
        building.kill()
        building.wait()
    answer = engine("build")
    assert answer.code == 0, answer.err
    assert len(engine("runs", "--json").json) == 1
    assert (project / "public/index.html").exists()
    assert not list(project.glob(".public-*"))
