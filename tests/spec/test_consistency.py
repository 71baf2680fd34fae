"""The parts of a spec are judged together, and by what its families read, before any model is loaded."""

import re

import pytest

from engine.errors import SpecError
from engine.spec.consistency import MAX_POINTS, inconsistencies, with_handed_over
from engine.spec.inputs import PAIRS, Inputs, Uses
from engine.spec.models import Spec
from tests.spec.specs import CODER, LENS

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


@pytest.fixture
def declared(catalog, monkeypatch):
    inputs = {
        "lens": Inputs(prompts=PAIRS),
        "coder": Inputs(corpus=True, site=True),
        "stability": Inputs(uses={"saes": Uses("coder", over="seed")}),
    }
    monkeypatch.setattr(type(catalog), "declared", inputs)
    return inputs


def test_what_fits_is_let_through(load, declared):
    assert load(SPEC).experiments["second"].uses == {"saes": "first"}


def test_a_role_that_is_optional_may_be_left_out_and_is_judged_where_it_is_filled(load, declared):
    declared["stability"] = Inputs(uses={"saes": Uses("coder", over="seed", optional=True)})
    assert load(SPEC).experiments["second"].uses == {"saes": "first"}
    assert load(SPEC.replace("    uses: {saes: first}\n", "")).experiments["second"].uses == {}
    with pytest.raises(SpecError, match="stability builds on coder"):
        load(SPEC.replace("uses: {saes: first}", "uses: {saes: second}"))


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
def test_an_input_that_does_not_fit_the_family_is_told_with_its_place(load, declared, old, new, told):
    assert old in SPEC
    with pytest.raises(SpecError, match=told) as error:
        load(SPEC.replace(old, new))
    assert "spec.yaml" in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (
            "{n_features: 8, k: 2, at: [blocks.0.hook_resid_pre, blocks.1.hook_resid_pst]}",
            r"10:69: experiments\.first\.parameters\.at\[1\]: a block has no site 'hook_resid_pst'"
            r"(?s:.)*expected: one of hook_resid_pre, (?s:.)*seen: 'blocks\.1\.hook_resid_pst'"
            r"(?s:.)*nearest: blocks\.1\.hook_resid_post",
        ),
        (
            "{n_features: 8, k: 2, at: [blocks.50%.hook_mlp_out, blocks.50%.hook_mlp_out]}",
            r"10:69: experiments\.first\.parameters\.at\[1\]: the hook site \S+ is given twice",
        ),
        (
            "{n_features: 8, k: 2, at: [blocks.120%.hook_mlp_out]}",
            r"10:44: experiments\.first\.parameters\.at\[0\]: '120%' is not a layer",
        ),
        ("{n_features: 8, k: 2, at: blocks.1.hook_embed}", r"10:43: .*parameters\.at: a block has no site"),
        (
            "{n_features: 8, k: 2, at: [3]}",
            r"10:44: experiments\.first\.parameters\.at\[0\]: the wrong kind of value",
        ),
    ],
)
def test_hook_sites_among_the_parameters_are_judged_like_the_one_of_an_experiment(
    load, declared, catalog, monkeypatch, parameters, told
):
    class Sited(catalog.families["coder"]):
        at: list[str] | str = []

    monkeypatch.setitem(catalog.families, "coder", Sited)
    declared["coder"] = Inputs(corpus=True, site=True, site_parameters=("at",))
    good = SPEC.replace("{n_features: 8, k: 2}", "{n_features: 8, k: 2, at: [blocks.7%.attn.hook_z]}")
    assert load(good).experiments["first"].parameters["at"] == ["blocks.7%.attn.hook_z"]
    with pytest.raises(SpecError, match=told):
        load(SPEC.replace("{n_features: 8, k: 2}", parameters))


def test_a_swept_hook_site_is_judged_where_it_is_written(load, declared, catalog, monkeypatch):
    class Sited(catalog.families["lens"]):
        at: str = "blocks.0.hook_resid_pre"

    monkeypatch.setitem(catalog.families, "lens", Sited)
    declared["lens"] = Inputs(site_parameters=("at",))
    with pytest.raises(
        SpecError, match=r"(?s)7:43: experiments\.a\.sweep\.at\[1\]: .*nearest: blocks\.1\.attn"
    ):
        load(LENS + "    sweep: {at: [blocks.1.hook_resid_mid, blocks.1.attn.hook_zz]}\n")


def test_a_family_with_sites_of_its_own_says_where_they_go(load, declared):
    declared["lens"] = Inputs(site_parameters=("at",))
    with pytest.raises(SpecError, match=r"lens reads no hook_site") as error:
        load(LENS + "    hook_site: blocks.1.hook_resid_pre\n")
    assert error.value.expected == "hook sites as parameters: {at: ...}"


def test_prompts_are_asked_for_where_a_family_reads_them(load, declared):
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


MISTAKES = [
    # families and their parameters
    (LENS.replace("lens", "lense"), "6:13: experiments.a.family: unknown family 'lense'.*nearest: lens"),
    (LENS + "    parameters: {comit_rank: 1}\n", "7:18: .*comit_rank: unknown key.*nearest: commit_rank"),
    (
        LENS + "    parameters: {commit_rank: -1}\n",
        "7:31: experiments.a.parameters.commit_rank: .*0 or more.*-1",
    ),
    (LENS + "    parameters: {commit_rank: '3'}\n", "7:31: .*a whole number.*seen: '3'.*remove the quotes"),
    (LENS + "    parameters: {commit_rank: true}\n", "7:31: .*a whole number.*seen: true"),
    (LENS + "    parameters: {commit_rank: 1.5}\n", "7:31: .*a whole number.*seen: 1.5"),
    (LENS + "    parameters: {normalise: no}\n", "7:29: .*true or false.*write false"),
    (LENS + "    parameters: {sites: [resid_pre, mlp_uot]}\n", r"7:37: .*sites\[1\]: .*nearest: mlp_out"),
    (LENS + "    parameters: {fit: {rats: 1}}\n", "7:24: .*fit.rats: unknown key.*nearest: rate"),
    (CODER, "5:3: experiments.a: n_features is missing"),
    (
        CODER + "    parameters: {n_features: 8}\n",
        r"7:5: .*parameters: k \(32\) is larger than n_features \(8\)",
    ),
    (CODER + "    parameters: {n_features: 8, learning_rate: .inf}\n", "7:48: .*a number.*seen: '.inf'"),
    # sweeps
    (LENS + "    sweep: {}\n", "7:5: experiments.a.sweep: an empty sweep"),
    (LENS + "    sweep: {seed: []}\n", "7:13: experiments.a.sweep.seed: .*1 or more items"),
    (LENS + "    sweep: {seed: 3}\n", r"7:19: experiments.a.sweep.seed: .*a list.*write \[3\]"),
    (
        LENS + "    sweep: {sed: [0, 1]}\n",
        "7:13: experiments.a.sweep.sed: unknown parameter of lens.*nearest: seed",
    ),
    (
        LENS + "    sweep: {seed: [0, 1, 0]}\n",
        r"7:26: experiments.a.sweep.seed\[2\]: the value 0 is given twice",
    ),
    (
        LENS + "    sweep: {seed: [0, x]}\n",
        r"7:23: experiments.a.sweep.seed\[1\]: .*a whole number.*seen: 'x'",
    ),
    (LENS + "    sweep: {seed: [[0]]}\n", r"7:20: .*sweep.seed\[0\]: .*a whole number, a number or text"),
    (LENS + "    parameters: {seed: 1}\n    sweep: {seed: [0]}\n", "8:13: .*seed is both set and swept"),
    (
        CODER + "    sweep: {n_features: [64, 8]}\n",
        r"5:3: experiments.a: k \(32\) is larger.*at \[n_features=8\]",
    ),
    (
        LENS + f"    sweep: {{seed: {list(range(200))}, commit_rank: {list(range(99))}}}\n",
        "7:5: .*too large.*19,800",
    ),
    # hook sites
    (
        LENS + "    hook_site: blocks.1.hook_resid_per\n",
        "7:16: experiments.a.hook_site: .*nearest: blocks.1.hook_resid_pre",
    ),
    (
        LENS + "    hook_site: blocks.-1.hook_resid_pre\n",
        "7:16: experiments.a.hook_site: '-1' is not a layer",
    ),
    (
        LENS + "    hook_site: blocks.50%.attn.hook_pattern\n",
        "7:16: experiments.a.hook_site: .*does not read.*nearest: blocks.50%.attn.hook_z",
    ),
    # uses
    (
        LENS + "    uses: {it: b}\n  bb: {family: lens}\n",
        "7:16: experiments.a.uses.it: unknown experiment 'b'.*nearest: bb",
    ),
    (LENS + "    uses: {it: a}\n", "7:5: experiments.a.uses: .*circle.*a uses a"),
    (
        LENS + "    uses: {it: b}\n  b: {family: lens, uses: {it: a}}\n",
        "experiments.[ab].uses: .*circle.*(a uses b uses a|b uses a uses b)",
    ),
    (
        LENS + "    name: x\n  b: {family: lens, name: x}\n",
        "8:27: experiments.b.name: two experiments are called 'x'",
    ),
    # claims
    (LENS + "claims: {c: {holds: a.x >}}\n", "7:21: claims.c.holds: "),
    (
        LENS + "claims: {c: {holds: 'b.x > 1', requires: [a.x > 1, aa.x > 1]}}\n",
        "claims.c.holds: .*'b'.*claims.c.requires.1.: .*nearest: a",
    ),
    (
        LENS + "    sweep: {seed: [0, 1]}\nclaims: {c: {holds: a.x > 1}}\n",
        r"8:21: claims.c.holds: a.x names no run.*a\[seed=0\]",
    ),
    (
        LENS + "    sweep: {seed: [0, 1]}\nclaims: {c: {holds: 'a[seed=2].x > 1'}}\n",
        r"names no run.*nearest: a\[seed=[01]\].x",
    ),
    (
        LENS + "key_numbers: [{number: x, says: words}]\n",
        r"7:\d+: key_numbers.0..number: 'x' is not the name of a number",
    ),
    (
        LENS + "key_numbers: [{number: a.x, says: words, control: aa.y}]\n",
        r"7:\d+: key_numbers.0..control: .*unknown experiment 'aa'.*nearest: a",
    ),
    (
        LENS + "key_numbers: [{number: a.x, says: words, control: a.x}]\n",
        r"7:\d+: key_numbers.0..control: a.x is its own control",
    ),
    (LENS + "key_numbers: [{number: a.x, says: s}, {number: a.x, says: t}]\n", r"key_numbers.1.: .*'a.x'"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_parts_that_do_not_fit_each_other_are_told_with_their_place(told, text, said):
    message = told(text)
    assert re.search(f"(?s)spec.yaml:.*{said}", message), message


def whole(**changes) -> dict:
    """A spec as plain data: a coder over two seeds, and what compares its runs."""
    experiments = {
        "first": {
            "family": "coder",
            "hook_site": "blocks.0.hook_resid_pre",
            "corpus": {"name": "a.txt"},
            "parameters": {"n_features": 64},
            "sweep": {"seed": [0, 1]},
        },
        "second": {"family": "stability", "uses": {"saes": "first"}},
    }
    return {"title": "T", "question": "Q", "models": ["m"], "experiments": experiments, **changes}


def problems(data: dict, catalog) -> list:
    return list(inconsistencies(Spec.model_validate(data), data, catalog))


def test_a_problem_knows_where_in_the_data_it_is_and_whether_the_key_or_the_value_is_wrong(catalog):
    data = whole(models=["m", "m"], claims={"c": {"holds": "third.x > 1"}})
    data["experiments"]["first"]["parameters"]["seed"] = 3
    found = problems(data, catalog)
    assert [(p.loc, p.on_key) for p in found] == [
        (("models", 1), False),
        (("experiments", "first", "sweep", "seed"), True),
        (("claims", "c", "holds"), False),
    ]


def test_what_a_family_refuses_at_many_points_is_told_once(catalog):
    data = whole()
    data["experiments"]["first"] |= {
        "parameters": {"n_features": 64, "k": "8"},
        "sweep": {"seed": list(range(50))},
    }
    (problem,) = problems(data, catalog)
    assert problem.loc == ("experiments", "first", "parameters", "k")
    assert problem.error.seen == "'8'"


def test_a_value_that_is_refused_is_told_at_its_own_place_in_the_sweep(catalog):
    data = whole()
    data["experiments"]["first"]["sweep"] = {"k": [8, 0, -1]}
    found = problems(data, catalog)
    assert [p.loc[-2:] for p in found] == [("k", 1), ("k", 2)]
    assert [p.error.seen for p in found] == ["0", "-1"]


@pytest.mark.parametrize(("one_more", "refused"), [(0, False), (1, True)])
def test_a_sweep_may_have_ten_thousand_points_and_not_one_more(catalog, one_more, refused):
    data = whole()
    data["experiments"] = {"first": {"family": "lens", "sweep": {"seed": list(range(MAX_POINTS + one_more))}}}
    found = problems(data, catalog)
    assert [p.error.problem for p in found] == (["the sweep is too large"] if refused else [])
    if refused:
        assert (found[0].error.expected, found[0].error.seen) == ("at most 10,000 runs", "10,001")


def test_a_claim_may_name_a_run_by_its_point_and_must_where_there_are_several(catalog):
    assert problems(whole(claims={"c": {"holds": "first[seed=1].loss < second.x"}}), catalog) == []
    (problem,) = problems(whole(claims={"c": {"holds": "first.loss < 1"}}), catalog)
    assert problem.error.expected == "first[seed=0], first[seed=1], then .loss"


def test_of_many_runs_that_a_claim_could_mean_a_few_are_listed(catalog):
    data = whole(claims={"c": {"holds": "first.loss < 1"}})
    data["experiments"]["first"]["sweep"] = {"seed": list(range(9))}
    (problem,) = problems(data, catalog)
    listed = "first[seed=0], first[seed=1], first[seed=2], first[seed=3], first[seed=4]"
    assert problem.error.expected == f"{listed} (one of 9), then .loss"


def test_where_the_experiment_used_is_not_there_no_circle_is_looked_for(catalog):
    data = whole()
    data["experiments"]["second"]["uses"] = {"saes": "frist"}
    (problem,) = problems(data, catalog)
    assert problem.loc == ("experiments", "second", "uses", "saes")
    assert problem.error.near == ("first",)


def test_text_and_site_go_along_a_chain_of_uses_and_the_spec_as_given_stays(catalog, declared):
    handed = Inputs(uses={"saes": Uses("coder", over="seed", hands_over=True)})
    declared |= {"stability": handed, "lens": Inputs(uses={"of": Uses("stability", hands_over=True)})}
    data = whole()
    data["experiments"]["third"] = {"family": "lens", "uses": {"of": "second"}}
    data["experiments"] = dict(reversed(data["experiments"].items()))  # the last is written first
    spec = Spec.model_validate(data)
    filled = with_handed_over(spec, catalog).experiments
    for name in ("second", "third"):
        assert filled[name].hook_site == "blocks.0.hook_resid_pre"
        assert filled[name].corpus == spec.experiments["first"].corpus
        assert spec.experiments[name].corpus is None


CLAIMED = LENS + "claims: {late: {holds: a.x > 1}}\n"


@pytest.mark.parametrize("named", ["[late]", "[a]", "[a, late]", "none", "[]"])
def test_an_assumption_names_claims_and_experiments_or_none(load, named):
    spec = load(CLAIMED + f"assumptions: [{{text: it is so, stressed_by: {named}}}]\n")
    assert spec.assumptions[0].stressed_by == ([] if named in ("none", "[]") else re.findall(r"\w+", named))


def test_what_stresses_an_assumption_must_be_there(load):
    with pytest.raises(SpecError, match="unknown claim or experiment 'lat'") as error:
        load(CLAIMED + "assumptions:\n  - text: it is so\n    stressed_by: [lat]\n")
    assert "spec.yaml:10:19: assumptions[0].stressed_by[0]" in error.value.where
    assert error.value.near[0] == "late"


def test_what_a_claim_is_valid_under_is_read_as_its_requirements_are(load):
    with pytest.raises(SpecError, match="unknown experiment 'b'") as error:
        load(LENS + "claims: {late: {holds: a.x > 1, valid_if: [b.x > 1]}}\n")
    assert "claims.late.valid_if[0]" in error.value.where


CHOSEN = LENS + "claims:\n  late:\n    holds: a.x > 1\n    across: {CHOICES}\n"


def test_choices_of_a_claim_are_let_through(load):
    spec = load(CHOSEN.replace("CHOICES", "a.commit_rank: [0, 4], a.normalise: [true, false]"))
    assert spec.claims["late"].across == {"a.commit_rank": [0, 4], "a.normalise": [True, False]}


@pytest.mark.parametrize(
    ("choices", "told", "place"),
    [
        ("b.commit_rank: [0, 4]", "unknown experiment 'b'", "claims.late.across.b.commit_rank"),
        ("a.comit_rank: [0, 4]", "unknown parameter of lens 'comit_rank'", "claims.late.across.a.comit_rank"),
        ("a.commit_rank: [0, -4]", "a value that is not allowed", "claims.late.across.a.commit_rank[1]"),
        ("a.commit_rank: [0, x]", "the wrong kind of value", "claims.late.across.a.commit_rank[1]"),
        ("a.commit_rank: [0, 0]", "the value 0 is given twice", "claims.late.across.a.commit_rank[1]"),
        (f"a.seed: {list(range(1001))}", "too many combinations", "claims.late.across"),
    ],
)
def test_a_choice_that_cannot_be_made_is_told_with_its_place(load, choices, told, place):
    with pytest.raises(SpecError, match=re.escape(told)) as error:
        load(CHOSEN.replace("CHOICES", choices))
    assert error.value.where.endswith(": " + place)


def test_a_choice_of_parameters_that_do_not_fit_each_other_is_told_with_the_combination(load):
    text = CODER + "    parameters: {n_features: 64}\nclaims: {c: {holds: a.x > 1, across: CHOICES}}\n"
    with pytest.raises(SpecError, match="is larger than n_features") as error:
        load(text.replace("CHOICES", "{a.n_features: [16, 64], a.k: [8, 32]}"))
    assert "n_features=16,k=32" in error.value.problem


def test_what_is_swept_already_is_no_choice(load):
    text = CHOSEN.replace("    family: lens\n", "    family: lens\n    sweep: {seed: [0, 1]}\n")
    with pytest.raises(SpecError, match="a is swept over seed"):
        load(text.replace("a.x", "a[seed=0].x").replace("CHOICES", "a.seed: [0, 1]"))


def test_a_choice_that_cannot_change_the_claim_is_told(load):
    with pytest.raises(SpecError, match="the claim rests on nothing of b"):
        load(
            CHOSEN.replace("claims:", "  b:\n    family: lens\nclaims:").replace("CHOICES", "b.seed: [0, 1]")
        )


def test_a_share_without_choices_is_told(load):
    with pytest.raises(SpecError, match="a share of specifications, of which there is one"):
        load(LENS + "claims: {late: {holds: a.x > 1, share: 0.5}}\n")
