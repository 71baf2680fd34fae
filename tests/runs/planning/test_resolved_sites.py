"""Hook sites among the parameters: resolved for each model in the plan, refused there, and shown."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError
from engine.report.popovers import provenance_facts
from engine.runs.assemble import assemble
from engine.runs.planning.resolved_sites import resolved_parameters
from engine.runs.published.write import write_published

FAMILY = "engine/families/count_words.py"
HALF = "blocks.50%.hook_resid_post"
NEXT = "blocks.53%.hook_resid_post"
DECLARED = """
from engine.spec.inputs import Inputs

inputs = Inputs(site_parameters=('sites',), second_model='against')


class Params("""


@pytest.fixture
def sited(toy: Any) -> Any:
    """The toy, whose family names hook sites and a second model among its parameters."""
    toy.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    sites: list[str] | str = []\n")
    toy.edit(FAMILY, "    seed: int = 0\n", "    seed: int = 0\n    against: str | None = None\n")
    toy.edit(FAMILY, "\nclass Params(", DECLARED)
    return toy


def facts_of(toy: Any, **options: Any) -> dict[str, str]:
    return dict(provenance_facts(toy.ledger(**options).entries[0].provenance))


def published(toy: Any) -> None:
    """Measure and commit the first investigation, then forget the store."""
    toy.build()
    with toy.store() as store:
        ledger = assemble(toy.investigations()[0], store, toy.plan())
        write_published(ledger, toy.root / "investigations/words/published")
        store.remove(store.runs())


def test_the_resolved_sites_travel_to_the_popover(sited: Any) -> None:
    sited.count(sites=[HALF, "blocks.100%.attn.hook_z"])
    assert sited.plan().runs[0].examined.sites == {
        "tiny": ["blocks.2.hook_resid_post", "blocks.3.attn.hook_z"]
    }
    assert facts_of(sited)["Hook site"] == "blocks.2.hook_resid_post, blocks.3.attn.hook_z"


def test_each_of_two_models_has_its_own_layers(sited: Any) -> None:
    sited.count(sites=HALF, against="small")
    told = "blocks.2.hook_resid_post in tiny; blocks.6.hook_resid_post in small"
    assert facts_of(sited)["Hook site"] == told


def test_a_run_is_recorded_with_its_sites_and_its_key_has_them_as_written(sited: Any) -> None:
    sited.count(sites=[HALF])
    (outcome,) = sited.build().values()
    record = outcome.run.record
    assert record.provenance["sites"] == {"tiny": ["blocks.2.hook_resid_post"]}
    assert record.inputs.experiment["parameters"]["sites"] == [HALF]
    sited.count()
    (outcome,) = sited.build().values()
    assert "sites" not in outcome.run.record.provenance, "a run without any is recorded as it always was"


def test_a_depth_that_only_loading_tells_is_recorded(sited: Any) -> None:
    sited.count(sites=[HALF], against="small")
    sited.models(
        tiny={"hash": "aa11", "n_layers": 4}, small={"hash": None, "n_layers": None, "true_hash": "bb22"}
    )
    assert sited.plan().runs[0].examined.sites == {"tiny": ["blocks.2.hook_resid_post"], "small": [HALF]}
    sited.models(tiny={"hash": "aa11", "n_layers": 4}, small={"hash": "bb22", "n_layers": 12})
    assert facts_of(sited)["Hook site"].endswith("blocks.6.hook_resid_post in small")


def test_numbers_published_before_sites_were_recorded_serve_and_show_them(sited: Any) -> None:
    # The family as it was: its sites are a parameter like any other.
    sited.edit(FAMILY, "site_parameters=('sites',), ", "")
    sited.count(sites=[HALF])
    published(sited)
    text = (sited.root / "investigations/words/published/tiny.json").read_text()
    assert HALF in text
    assert '"sites": {' not in text
    sited.edit(FAMILY, "Inputs(second", "Inputs(site_parameters=('sites',), second")
    (run,) = sited.plan(budget=0.0).runs
    assert (run.decision, run.examined.unpublished) == ("published", "")
    assert facts_of(sited, budget=0.0)["Hook site"] == "blocks.2.hook_resid_post"


def test_recorded_sites_are_published_and_read_back(sited: Any) -> None:
    sited.count(sites=[HALF])
    published(sited)
    entry = sited.ledger(budget=0.0).entries[0]
    assert entry.state == "published"
    assert entry.provenance.sites == {"tiny": ["blocks.2.hook_resid_post"]}


def test_a_site_that_no_model_has_is_a_mistake_of_the_spec_with_its_place(sited: Any) -> None:
    sited.spec(models=("tiny", "small"), count={"parameters": {"sites": [HALF, "blocks.20.hook_resid_post"]}})
    told = r"spec\.yaml:12:9: experiments\.count\.parameters\.sites\[1\]: the model has no layer 20"
    with pytest.raises(SpecError, match=told):
        sited.plan()
    sited.spec(models=("tiny",), count={"parameters": {"sites": [HALF, NEXT]}})
    told = r"spec\.yaml:9:7: experiments\.count\.parameters\.sites: a site is given twice(?s:.)*both blocks"
    with pytest.raises(SpecError, match=told):
        sited.plan()
    sited.spec(models=("tiny",), count={"sweep": {"sites": [HALF, "blocks.9.hook_resid_post"]}})
    with pytest.raises(
        SpecError, match=r"spec\.yaml:11:9: experiments\.count\.sweep\.sites\[1\]: the model has"
    ):
        sited.plan()


def test_a_site_that_one_model_lacks_blocks_that_model(sited: Any) -> None:
    sites = ["blocks.0.hook_resid_post", "blocks.8.hook_resid_post"]
    sited.spec(models=("tiny", "small"), count={"parameters": {"sites": sites}})
    tiny, small = sited.plan().runs
    assert (tiny.state, small.state) == ("not measurable", "new")
    assert tiny.reason == "the model has no layer 8 ('blocks.8.hook_resid_post')"


def test_a_site_that_the_second_model_lacks_is_told_with_its_name(sited: Any) -> None:
    sited.spec(
        models=("small",), count={"parameters": {"sites": "blocks.8.hook_resid_post", "against": "tiny"}}
    )
    told = r"parameters\.sites: the model has no layer 8(?s:.)*seen: 'blocks\.8\.hook_resid_post', in tiny"
    with pytest.raises(SpecError, match=told):
        sited.plan()


def test_a_default_that_does_not_fit_is_told_by_its_key(sited: Any) -> None:
    sited.edit(FAMILY, "sites: list[str] | str = []", f"sites: list[str] | str = ['{HALF}', '{NEXT}']")
    sited.count()
    with pytest.raises(
        SpecError, match=r"spec\.yaml: experiments\.count\.parameters\.sites: a site is given"
    ):
        sited.plan()


def test_where_no_parameter_names_a_site_no_model_has_any() -> None:
    assert resolved_parameters({}, {"tiny": 4, "small": None}) == ({}, None)
