"""Agreement of the three runs on the planted model, and what it refuses."""

from dataclasses import replace

import pytest

from engine.errors import DataError, SpecError
from engine.families.method_agreement import Params, run
from engine.lab.lab import Lab, UsedRun
from engine.models.micro import micro_model


@pytest.fixture
def lab(lens, attribution, patching):
    found = {"lens": lens, "attribution": attribution, "patching": patching}
    return Lab(micro_model(), uses={role: {(): UsedRun(result)} for role, result in found.items()})


def test_all_methods_point_at_the_planted_layer(lab):
    result = run(lab, Params()).validated()
    found = result.measurements
    for pair in ("lens_attribution", "lens_patching", "attribution_patching"):
        assert found[f"{pair}_correlation"].value > 0.8
        # Planted prompts that agree bear no interval, so that the values are compared.
        assert abs(found[f"{pair}_chance"].value) < 0.4
    parts = result.tables["parts"].sort_values("destroyed", ascending=False)
    assert parts.iloc[0]["part"] == "L1H2"


def test_it_compares_the_prompts_that_all_runs_share(lab, lens):
    short = {**lens.tables, "per_prompt": lens.tables["per_prompt"].iloc[2:]}
    arrays = {name: values[2:] for name, values in lens.arrays.items()}
    lab.uses["lens"] = {(): UsedRun(replace(lens, tables=short, arrays=arrays))}
    assert run(lab, Params()).measurements["prompts_shared"].value == 30


def test_runs_of_other_prompts_are_refused(lab, lens):
    other = lens.tables["per_prompt"].assign(id=[f"other {i}" for i in range(32)])
    lab.uses["lens"] = {(): UsedRun(replace(lens, tables={**lens.tables, "per_prompt": other}))}
    with pytest.raises(DataError, match="no prompt in common"):
        run(lab, Params())


def test_a_missing_run_is_named(lab):
    del lab.uses["patching"]
    with pytest.raises(SpecError, match="patching"):
        run(lab, Params())
