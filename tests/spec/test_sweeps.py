"""A sweep laid over a spec: what it says, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import SpecError
from engine.spec.load import load_spec
from engine.spec.points import points
from engine.spec.sweeps import (
    Axis,
    chosen_experiment,
    parse_axis,
    relocated,
    swept_spec,
    write_spec,
)

WHOLE = """\
title: Two
question: Which?
models: [gpt2]
experiments:
  first:
    family: coder
    hook_site: blocks.0.hook_resid_pre
    corpus: {name: words.txt, tokens: 100}
    parameters: {n_features: 64}
  second: {family: coder, parameters: {n_features: 64, k: 4}, uses: {saes: first}}
claims:
  c: {holds: first.loss < 1}
headline: "{{ first.loss }}"
"""


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("parameters.k=8,16,32", Axis("parameters.k", (8, 16, 32))),
        ("parameters.lr=1e-3, 0.1", Axis("parameters.lr", (1e-3, 0.1))),
        ("parameters.kind=topk,'a, b'", Axis("parameters.kind", ("topk", "a, b"))),
        ("corpus.tokens=200_000,1e6", Axis("corpus.tokens", (200_000, 1_000_000))),
        ("parameters.signed=true,no", Axis("parameters.signed", (True, "no"))),
    ],
)
def test_values_are_typed_as_in_a_spec(text: str, axis: Axis) -> None:
    found = parse_axis(text)
    assert found == axis
    assert [type(v) for v in found.values] == [type(v) for v in axis.values]


@pytest.mark.parametrize(
    "text",
    ["parameters.k", "=8", "parameters.k=", "parameters.k=[1,2]", "parameters.k=8,,9", "parameters.k=a: ["],
)
def test_what_is_no_axis_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--axis"):
        parse_axis(text)


def test_parameters_become_a_sweep_and_what_is_used_comes_along(load: Any, catalog: Any) -> None:
    base = load(WHOLE)
    spec = swept_spec(
        base, "second", [Axis("parameters.k", (8, 16)), Axis("parameters.seed", (0, 1))], catalog
    )
    assert list(spec.experiments) == ["first", "second"]
    assert spec.experiments["first"] == base.experiments["first"]
    assert spec.experiments["second"].parameters == {"n_features": 64}
    assert points(spec.experiments["second"])[1] == {"k": 8, "seed": 1}
    assert (spec.claims, spec.headline) == ({}, "")
    assert spec.title == "Two, over k, seed"


def test_hook_sites_and_amounts_become_experiments(load: Any, catalog: Any) -> None:
    axes = [
        Axis("hook_site", ("blocks.0.hook_resid_pre", "blocks.50%.hook_resid_pre")),
        Axis("corpus.tokens", (10, 20)),
        Axis("parameters.k", (1, 2)),
    ]
    spec = swept_spec(load(WHOLE), "first", axes, catalog)
    assert list(spec.experiments) == [
        "first_blocks_0_hook_resid_pre_tokens_10",
        "first_blocks_0_hook_resid_pre_tokens_20",
        "first_blocks_50pct_hook_resid_pre_tokens_10",
        "first_blocks_50pct_hook_resid_pre_tokens_20",
    ]
    last = list(spec.experiments.values())[-1]
    assert last.corpus and last.corpus.tokens == 20
    assert last.sweep == {"k": [1, 2]}


@pytest.mark.parametrize(
    ("axis", "told"),
    [
        (Axis("parameters.sede", (1,)), r"'parameters.sede' cannot be swept(?s:.*)nearest: parameters.seed"),
        (Axis("seed", (1,)), r"nearest: parameters.seed"),
        (Axis("hook_sites", ("a",)), r"nearest: hook_site"),
        (Axis("parameters.k", ("much",)), r"experiments.first.sweep.k\[0\]: the wrong kind of value"),
        (Axis("parameters.k", (1, 1)), r"given twice"),
        (Axis("parameters.k", (8, 100)), r"k \(100\) is larger than n_features \(64\)"),
        (Axis("hook_site", ("blocks.0.hook_resid",)), r"a block has no site"),
        (Axis("corpus.tokens", (0,)), r"more than 0"),
        (Axis("prompts.limit", (5,)), r"the experiment has no prompts"),
    ],
)
def test_what_cannot_be_swept_is_said(load: Any, catalog: Any, axis: Axis, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        swept_spec(load(WHOLE), "first", [axis], catalog)


def test_an_axis_twice_and_an_unknown_experiment_are_refused(load: Any, catalog: Any) -> None:
    base = load(WHOLE)
    with pytest.raises(SpecError, match="the axis is given twice"):
        swept_spec(base, "first", [Axis("parameters.k", (1,)), Axis("parameters.k", (2,))], catalog)
    with pytest.raises(SpecError, match=r"2 experiments(?s:.*)first, second"):
        chosen_experiment(base, None, "base.yaml")
    with pytest.raises(SpecError, match=r"nearest: first"):
        chosen_experiment(base, "firts", "base.yaml")


def test_a_sweep_is_written_where_it_loads_and_over_nothing_of_a_person(
    load: Any, catalog: Any, tmp_path: Path
) -> None:
    (tmp_path / "words.txt").write_text("words")
    target = tmp_path / "deeper"
    target.mkdir()
    spec = swept_spec(load(WHOLE), "first", [Axis("parameters.k", (1, 2))], catalog)
    moved = relocated(spec, tmp_path, target)
    (tmp_path / "mkdocs.yml").touch()
    write_spec(target / "sweep.yaml", moved, tmp_path)
    write_spec(target / "sweep.yaml", moved, tmp_path)
    text = (target / "sweep.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=../site/schema/investigation.json\n")
    again = load_spec(target / "sweep.yaml", catalog)
    assert again == moved
    corpus = again.experiments["first"].corpus
    assert corpus and (target / corpus.name).read_text() == "words"
    with pytest.raises(SpecError, match="did not write"):
        write_spec(tmp_path / "spec.yaml", moved, tmp_path)
