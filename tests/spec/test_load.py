import pickle
import re

import pytest

from engine.errors import ClaimError, SpecError
from engine.spec.load import dump, places_in
from engine.spec.models import PromptChoice
from tests.spec.specs import HEAD, LENS

WHOLE = """\
# yaml-language-server: $schema=../../site/schema/investigation.json
title: Do two sparse autoencoders find the same features?
question: If only the random seed changes, does a Top-K SAE learn the same dictionary?
models: [smollm2-135m-instruct, gpt2]
experiments:
  layer0:
    family: coder
    hook_site: blocks.0.hook_resid_pre
    corpus: {name: smollm2-samples, tokens: 200_000}
    parameters: {n_features: 2048, k: 32}
    sweep: {seed: [0, 1, 2, 3, 4]}
  stability0:
    family: stability
    uses: {saes: layer0}
  lens:
    family: lens
    prompts: facts
    models: [gpt2]
claims:
  dictionaries-differ:
    holds: stability0.median_best_match < 0.9
    requires: [stability0.median_best_match > stability0.chance_best_match]
    registered: 2026-01-31
  seeds-agree:
    holds: layer0[seed=0].loss < layer0[seed=4].loss
headline: "Median best-match cosine {{ stability0.median_best_match }}."
key_numbers: [{number: stability0.median_best_match, says: best match}]
"""

FLAT = """\
name: saes at layer 6
family: coder
model: gpt2
hook_site: blocks.6.hook_resid_pre
corpus: smollm2-samples
parameters:
  n_features: 512
  learning_rate: 1e-3
"""


def test_a_whole_spec_loads_and_survives_a_round_trip(load):
    spec = load(WHOLE)
    assert spec.experiments["layer0"].corpus.tokens == 200_000
    assert spec.experiments["lens"].prompts == PromptChoice(name="facts")
    assert spec.claims["dictionaries-differ"].registered == "2026-01-31"
    assert load(dump(spec), "again.yaml") == spec


def test_the_flat_form_is_a_spec_of_one_experiment(load):
    spec = load(FLAT)
    assert spec.models == ["gpt2"] and list(spec.experiments) == ["saes_at_layer_6"]
    experiment = spec.experiments["saes_at_layer_6"]
    assert experiment.name == spec.title == "saes at layer 6"
    assert experiment.parameters == {"n_features": 512, "learning_rate": 0.001}
    assert load('{"family": "lens", "model": "gpt2"}', "flat.json").experiments["lens"].family == "lens"


def test_an_error_crosses_a_process_boundary(load):
    with pytest.raises(SpecError) as caught:
        load(LENS + "    hook_sites: x\n")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


MISTAKES = [
    # shape
    ("- 1\n", "1:1: this is not a spec"),
    (HEAD, "1:1: experiments is missing"),
    (HEAD + "experiments: {}\n", "4:1: experiments: .*1 or more items"),
    (HEAD + "experiments: {a: lens}\n", "4:18: experiments.a: .*expected: a mapping.*seen: 'lens'"),
    (HEAD.replace("question", "qestion"), "2:1: qestion: unknown key 'qestion'.*nearest: question"),
    (LENS.replace("A title", "' '"), "1:8: title: .*text that is not blank"),
    (LENS.replace("A title", "3"), "1:8: title: .*expected: text.*seen: 3.*put it in quotes"),
    (
        LENS + "    hook_sit: x\n",
        "7:5: experiments.a.hook_sit: unknown key.*one of family, .*nearest: hook_site",
    ),
    (LENS + "    dtype: float23\n", "7:12: experiments.a.dtype: .*'float32' or 'bfloat16'.*nearest: float32"),
    (
        LENS + "    prompts: {name: facts, limit: 0}\n",
        "7:35: experiments.a.prompts.limit: .*more than 0.*seen: 0",
    ),
    (
        LENS + "    prompts: {limit: 3}\n",
        "7:5: experiments.a.prompts: neither of name and rows, of which prompts need one",
    ),
    (
        LENS + "    prompts:\n      rows:\n        - {prompt: x, answer: [y]}\n",
        "9:23: experiments.a.prompts.rows.0..answer: the wrong kind of value",
    ),
    (LENS + "    prompts: [facts]\n", "7:5: experiments.a.prompts: .*a name or a mapping"),
    (LENS + "    parameters:\n", "7:16: experiments.a.parameters: .*seen: nothing.*remove the key"),
    (LENS + "  1st: {family: lens}\n", "7:3: experiments.1st: .*not beginning with a digit"),
    (
        LENS + "claims: {c: {hold: a.x > 1}}\n",
        "7:10: claims.c: holds is missing.*7:14: claims.c.hold: unknown key",
    ),
    (LENS + "claims: {c: {holds: a.x > 1, registered: 2026-02-41}}\n", "7:42: .*a date such as"),
    # models
    (LENS.replace("models: [m, n]\n", ""), "1:1: no model is named.*models: "),
    (LENS.replace("[m, n]", "[]"), "3:1: models: .*1 or more items"),
    (LENS.replace("[m, n]", "m"), r"3:9: models: .*expected: a list.*write \[m\]"),
    (LENS.replace("[m, n]", "[m, n, m]"), r"3:16: models\[2\]: the model 'm' is given twice"),
    (LENS.replace("[m, n]", "[m, '']"), r"3:13: models\[1\]: .*not blank"),
    (LENS.replace("models: [m, n]", "model: [m, n]"), "3:1: model: .*one model's name.*models: "),
    (LENS + "model: m\n", "7:1: model: both model and models"),
    (LENS + "    models: [o]\n", r"7:14: experiments.a.models\[0\]: unknown model of this spec 'o'"),
    (
        LENS + "    models: [m]\n  b: {family: lens, uses: {it: a}}\n",
        "8:32: experiments.b.uses.it: a is not .* on n",
    ),
    # the flat form
    (FLAT.replace("name:", "nmae:"), "1:1: nmae: unknown key.*nearest: name"),
    (FLAT.replace("512", "many"), "7:15: parameters.n_features: .*a whole number"),
    (FLAT.replace("coder", "codec"), "2:9: family: unknown family 'codec'.*nearest: coder"),
    (FLAT.replace("blocks.6", "block.6"), "4:12: hook_site: .*nearest: blocks.6.hook_resid_pre"),
    (FLAT + "uses: {it: x}\n", "9:1: uses: unknown key"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_a_mistake_is_told_with_its_place(told, text, said):
    message = told(text)
    assert re.search(f"(?s)spec.yaml:.*{said}", message), message


def test_all_problems_are_told_in_the_order_of_the_file(load):
    text = LENS.replace("family: lens", "family: lense") + "    hook_site: x\nclaims: {c: {holds: b.x > 1}}\n"
    with pytest.raises(SpecError) as caught:
        load(text)
    message = str(caught.value)
    assert "3 problems" in message
    assert message.index(":6:13: ") < message.index(":7:16: ") < message.index(":8:21: ")
    with pytest.raises(SpecError, match=r"12 problems(?s:.*)and 2 more"):
        load(LENS + "".join(f"    key{i}: 1\n" for i in range(12)))


def test_a_claim_that_does_not_parse_stays_a_claim_error(load):
    with pytest.raises(ClaimError, match=r"claims\.c\.holds"):
        load(LENS + "claims: {c: {holds: a.x >}}\n")


def test_a_spec_says_who_is_to_be_cited_and_as_what(load):
    spec = load(
        LENS
        + "authors:\n- Ada Lovelace\n"
        + "- {name: A team, group: true, affiliation: Somewhere, orcid: https://orcid.org/0000-0002-1825-0097}\n"
        + "version: '1.2'\ndoi: https://doi.org/10.5281/zenodo.1\nrepository: https://example.org/a/b/\n"
    )
    ada, team = spec.authors
    assert (ada.name, ada.orcid, ada.group) == ("Ada Lovelace", None, False)
    assert (team.name, team.orcid, team.group) == ("A team", "0000-0002-1825-0097", True)
    assert (spec.version, spec.doi) == ("1.2", "10.5281/zenodo.1")
    assert spec.repository == "https://example.org/a/b"
    assert load(dump(spec), "again.yaml") == spec


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("authors: Ada", ["a list", "write [Ada]"]),
        ("authors: []", ["1 or more items"]),
        ("authors: [3]", ["a name or a mapping"]),
        ("authors: [{orcid: 0000-0002-1825-0097}]", ["name is missing"]),
        ("authors: [{name: Ada, orchid: x}]", ["unknown key 'orchid'", "orcid"]),
        ("authors: [{name: Ada, orcid: 0000-0002-1825-0098}]", ["last digit would be 7", "authors[0].orcid"]),
        ("doi: zenodo.1", ["no DOI", "10.5281/zenodo.1234567", "zenodo.1"]),
        ("version: 1.2", ["text", "put it in quotes"]),
        ("repository: 'javascript:alert(1)'", ["no web address"]),
        ("autors: [Ada]", ["unknown key 'autors'", "authors"]),
    ],
)
def test_what_cannot_be_cited_is_refused_with_its_place(load, line, says):
    with pytest.raises(SpecError) as raised:
        load(LENS + line + "\n")
    told = str(raised.value)
    assert "spec.yaml:7:" in told
    for part in says:
        assert part in told, told


def test_a_spec_without_a_file_has_places_by_their_path(tmp_path):
    where = places_in(tmp_path / "<spec>")
    assert where(("experiments", "one", "prompts", "rows", 2)) == "experiments.one.prompts.rows[2]"
