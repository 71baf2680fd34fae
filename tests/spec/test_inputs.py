"""A spec is judged by what its families read, before any model is loaded."""

import pytest

from engine.errors import SpecError
from engine.spec.inputs import PAIRS, Inputs, Uses

SPEC = """
title: T
question: Q
models: [tiny]
experiments:
  first:
    family: coder
    corpus: {name: a.txt}
    hook_site: blocks.0.hook_resid_pre
    parameters: {n_features: 8, k: 2}
    sweep: {seed: [0, 1]}
  second:
    family: stability
    uses: {saes: first}
"""


@pytest.fixture(autouse=True)
def declared(catalog, monkeypatch):
    inputs = {
        "lens": Inputs(prompts=PAIRS),
        "coder": Inputs(corpus=True, site=True),
        "stability": Inputs(uses={"saes": Uses("coder", over="seed")}),
    }
    monkeypatch.setattr(type(catalog), "declared", inputs)
    return inputs


def test_what_fits_is_let_through(load):
    assert load(SPEC).experiments["second"].uses == {"saes": "first"}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("    corpus: {name: a.txt}\n", "", "coder needs a corpus"),
        ("    hook_site: blocks.0.hook_resid_pre\n", "", "coder needs a hook site"),
        ("uses: {saes: first}", "uses: {saes: first}\n    prompts: facts", "stability reads no prompts"),
        ("uses: {saes: first}", "uses: {saes: first}\n    corpus: b.txt", "stability reads no corpus"),
        (
            "uses: {saes: first}",
            "uses: {saes: first}\n    hook_site: blocks.1.hook_resid_pre",
            "stability reads no hook_site",
        ),
        ("uses: {saes: first}", "uses: {sae: first}", "unknown role of stability 'sae'"),
        ("    uses: {saes: first}\n", "", "builds on another experiment as 'saes'"),
        ("sweep: {seed: [0, 1]}", "sweep: {seed: [0]}", "differ in seed alone"),
        ("sweep: {seed: [0, 1]}", "sweep: {k: [1, 2], seed: [0, 1]}", "differ in seed alone"),
        ("uses: {saes: first}", "uses: {saes: second}", "stability builds on coder"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(load, old, new, told):
    assert old in SPEC
    with pytest.raises(SpecError, match=told) as error:
        load(SPEC.replace(old, new))
    assert "spec.yaml" in str(error.value)


def test_prompts_are_asked_for_where_a_family_reads_them(load):
    with pytest.raises(SpecError, match="lens needs prompts") as error:
        load("title: T\nquestion: Q\nmodels: [tiny]\nexperiments: {a: {family: lens}}\n")
    assert "prompts: {name: facts}" in error.value.expected


def test_text_and_site_are_handed_over_by_the_runs_used(load, declared):
    declared["stability"] = Inputs(uses={"saes": Uses("coder", over="seed", hands_over=True)})
    spec = load(SPEC)
    first, second = spec.experiments["first"], spec.experiments["second"]
    assert (second.corpus, second.hook_site) == (first.corpus, first.hook_site)
    with pytest.raises(SpecError, match="it is that of the runs used"):
        load(SPEC.replace("uses: {saes: first}", "uses: {saes: first}\n    corpus: b.txt"))
