import pytest
from jsonschema import Draft7Validator

from engine.errors import SpecError
from engine.spec.document import read_document
from engine.spec.inputs import PAIRS, Inputs, Uses
from engine.spec.load import load_spec
from engine.spec.schema import json_schema

HEAD = "title: t\nquestion: q\nmodels: [m, n]\n"
LENS = HEAD + "experiments:\n  a:\n    family: lens\n"
CODER = HEAD + "experiments:\n  a:\n    family: coder\n"
FLAT = "family: coder\nmodel: m\nparameters: {n_features: 64}\n"

GOOD = [
    LENS,
    LENS.replace("models: [m, n]", "model: m"),
    LENS
    + "    prompts: facts\n    corpus: {name: c, tokens: 200_000}\n    dtype: bfloat16\n    models: [m]\n",
    LENS + "    parameters: {commit_rank: 1, sites: [mlp_out], fit: {rate: 1}}\n    sweep: {seed: [0, 1]}\n",
    LENS
    + "claims: {c: {holds: a.x > 1, requires: [a.y < 2], registered: 2026-01-31, says: s}}\n"
    + "key_numbers: [{number: a.x, says: words}, {number: a.y, says: w, percent: true, control: a.z}]\n",
    LENS
    + "claims: {c: {holds: a.x > 1, valid_if: [a.y > 2], population: these, about: gpt2, share: 0.75, "
    + "across: {a.commit_rank: [0, 4]}}}\n",
    LENS + "evidence: causal\nassumptions: [{text: t, kind: construct, stressed_by: [a]}]\n",
    LENS + "assumptions: [{text: t, stressed_by: none}]\n",
    CODER + "    parameters: {n_features: 64, learning_rate: 1e-4}\n",
    CODER + "    sweep: {n_features: [64, 128]}\n",
    FLAT,
    FLAT + "name: my run\nhook_site: blocks.50%.hook_resid_pre\nsweep: {k: [1, 2]}\ntitle: t\n",
]
BAD = [
    HEAD,
    "- 1\n",
    "{}\n",
    LENS.replace("title", "titel"),
    LENS.replace("models: [m, n]", "model: [m]"),
    LENS.replace("models: [m, n]", "models: []"),
    LENS.replace("models: [m, n]", "models: [m, m]"),
    LENS + "model: m\n",
    LENS.replace("lens", "lense"),
    LENS.replace("  a:", "  1a:"),
    LENS + "    hook_sites: x\n",
    LENS + "    parameters: {comit_rank: 1}\n",
    LENS + "    parameters: {commit_rank: -1}\n",
    LENS + "    parameters: {normalise: no}\n",
    LENS + "    parameters: {sites: [mlp_uot]}\n",
    LENS + "    parameters: {fit: {rats: 1}}\n",
    LENS + "    sweep: {}\n",
    LENS + "    sweep: {seed: []}\n",
    LENS + "    sweep: {seed: [0, 0]}\n",
    LENS + "    sweep: {seed: [x]}\n",
    LENS + "    sweep: {sed: [0]}\n",
    LENS + "    prompts: {name: facts, limit: 0}\n",
    LENS + "    prompts: ''\n",
    LENS + "claims: {c: {requires: [a.x > 1]}}\n",
    LENS + "claims: {c: {holds: a.x > 1, registered: soon}}\n",
    LENS + "claims: {c: {holds: a.x > 1, across: {commit_rank: [0, 4]}}}\n",
    LENS + "claims: {c: {holds: a.x > 1, across: {a.commit_rank: [0, 0]}}}\n",
    LENS + "claims: {c: {holds: a.x > 1, across: {a.commit_rank: [0, 4]}, share: 75}}\n",
    LENS + "claims: {c: {holds: a.x > 1, population: everyone}}\n",
    LENS + "evidence: strong\n",
    LENS + "assumptions: [{text: t}]\n",
    LENS + "assumptions: [{text: t, stressed_by: some}]\n",
    CODER,
    CODER + "    parameters: {n_features: many}\n",
    FLAT + "uses: {it: a}\n",
    FLAT.replace("n_features", "n_feature"),
    FLAT.replace("model: m\n", ""),
]


@pytest.fixture
def validator(catalog) -> Draft7Validator:
    schema = json_schema(catalog)
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


@pytest.mark.parametrize(("text", "good"), [(t, True) for t in GOOD] + [(t, False) for t in BAD])
def test_schema_and_loader_agree(validator, catalog, tmp_path, text, good):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    errors = [e.message for e in validator.iter_errors(read_document(path).value)]
    assert (errors == []) == good, errors
    if good:
        load_spec(path, catalog)
    else:
        with pytest.raises(SpecError):
            load_spec(path, catalog)


def test_an_editor_may_read_200_000_as_text(validator):
    data = {"family": "coder", "model": "m", "parameters": {"n_features": "200_000"}}
    assert validator.is_valid(data)
    data["parameters"]["n_features"] = "200,000"
    assert not validator.is_valid(data)


def test_the_schema_explains_what_an_editor_shows(catalog):
    schema = json_schema(catalog)
    assert schema["else"]["properties"]["question"]["description"].startswith("The question")
    assert schema["$defs"]["Experiment"]["properties"]["family"]["enum"] == ["lens", "coder", "stability"]
    lens = schema["$defs"]["family.lens"]["properties"]["parameters"]
    assert lens["properties"]["commit_rank"]["description"].startswith("The worst rank")


def test_the_schema_says_what_a_family_reads(catalog, monkeypatch):
    declared = {"lens": Inputs(prompts=PAIRS), "stability": Inputs(uses={"coders": Uses("coder")})}
    monkeypatch.setattr(type(catalog), "declared", declared)
    validator = Draft7Validator(json_schema(catalog))
    lens = {"family": "lens", "model": "m", "prompts": "facts"}
    assert validator.is_valid(lens)
    assert not validator.is_valid({**lens, "corpus": "a.txt"})
    assert not validator.is_valid({"family": "lens", "model": "m"})
    assert not validator.is_valid({"family": "stability", "model": "m", "prompts": "facts"})
