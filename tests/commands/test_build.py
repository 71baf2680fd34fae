"""`engine build` as a person types it, on a project with a planted model: what it prints and leaves."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path


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


def test_a_build_of_what_changed_begins_nothing_new_and_says_so(engine, project):
    plan = engine("build", "--changed", "--dry-run", "--json").json["plan"]["runs"]
    assert {run["decision"] for run in plan} == {"unmeasured"}
    assert all("only what changed is asked for" in run["note"] for run in plan)
    assert engine("build").code == 0
    assert engine("build", "--changed").code == 0
    assert [r["id"] for r in engine("runs", "--json").json] == [1]


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
    # Other bytes: a run on a copy of the first model would be the first one's.
    config = project / "second/config.json"
    config.write_text(config.read_text() + "\n")
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


def test_a_wrong_name_is_told_before_measuring_and_leaves_the_other_investigations_standing(engine, project):
    planted = project / "investigations/planted"
    wrong = project / "investigations/wrong"
    shutil.copytree(planted, wrong)
    with (wrong / "report.md").open("a") as template:
        template.write("\n{{ lenz.anything }}\n")
    answer = engine("build")
    assert answer.code == 2
    told = answer.out + answer.err
    assert "'lenz' is not defined" in told and "nearest" in told
    assert told.index("'lenz' is not defined") < told.index("building the site")
    standing = (project / "public/investigations/planted/index.html").read_text()
    assert 'data-verdict="supported"' in standing
    place = (project / "public/investigations/wrong/index.html").read_text()
    assert "cannot be printed" in place and "lenz" in place
    assert engine("check").code == 1
