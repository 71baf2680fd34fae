"""Each family's evidence on the planted model, measured once."""

import pytest

from engine.families import circuit_patching, direct_logit_attribution, logit_lens
from engine.lab.planted import planted_lab


@pytest.fixture(scope="session")
def lens():
    return logit_lens.run(planted_lab(), logit_lens.Params()).validated()


@pytest.fixture(scope="session")
def attribution():
    return direct_logit_attribution.run(planted_lab(), direct_logit_attribution.Params()).validated()


@pytest.fixture(scope="session")
def patching():
    params = circuit_patching.Params(prompts_per_relation=16)
    return circuit_patching.run(planted_lab(), params).validated()
