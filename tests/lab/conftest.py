"""Micro models of both architectures, and pairs of several lengths to patch between."""

import pytest
import torch

from engine.lab.patch_pairs import PatchPairs
from engine.models.hooked import HookedModel
from engine.models.micro import micro_model

torch.set_num_threads(1)

TEXTS = [
    ("the capital city of France is the city", "the capital city of Spain is the city"),
    ("cat sat on Paris", "dog ran under Rome"),
    ("the language people speak in Italy is", "the language people speak in Japan is"),
]


@pytest.fixture(scope="session", params=["llama", "gpt2"])
def model(request) -> HookedModel:
    return micro_model(request.param, n_layers=3)


@pytest.fixture(scope="session")
def pairs(model: HookedModel) -> PatchPairs:
    """Three pairs of three lengths, right-padded; the second differs in its first token."""
    source, _, last = model.pad(model.token_ids([clean for clean, _ in TEXTS]))
    base, _, _ = model.pad(model.token_ids([corrupted for _, corrupted in TEXTS]))
    return PatchPairs(base, source, last, torch.tensor([14, 15, 16]), torch.tensor([17, 18, 19]))
