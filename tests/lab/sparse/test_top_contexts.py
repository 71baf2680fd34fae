"""Top contexts of latents: strongest first, one a context, the tokens around the peak marked."""

import numpy as np
import torch

from engine.evidence.marked import segments_of
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.top_contexts import evenly_by_rate, top_contexts

IDS = np.arange(12)
CONTEXT = np.repeat([0, 1, 2], 4)


def codes(active: dict[int, list[tuple[int, float]]]) -> Codes:
    """Three latents on twelve tokens; row -> (latent, value)."""
    counts = torch.tensor([len(active.get(row, [])) for row in range(12)])
    entries = [entry for row in range(12) for entry in active.get(row, [])]
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    latents = torch.tensor([latent for latent, _ in entries], dtype=torch.long)
    values = torch.tensor([value for _, value in entries], dtype=torch.float32)
    return Codes(starts, latents, values, 3)


def words(ids):
    return [f" w{i}" for i in ids]


CODES = codes({1: [(0, 2.0)], 2: [(0, 3.0), (1, 1.0)], 5: [(0, 9.0)], 8: [(0, 1.0)]})


def test_one_row_for_each_context_strongest_first():
    table = top_contexts(CODES, IDS, CONTEXT, words, latents=[0, 1, 2], top=2, around=2)
    assert table["latent"].tolist() == [0, 0, 1]
    assert table["activation"].tolist() == [9.0, 3.0, 1.0]
    assert table["token"].tolist() == [" w5", " w2", " w2"]
    assert table["context"].tolist() == [1, 0, 0]


def test_the_window_stays_in_its_context_and_marks_every_firing():
    table = top_contexts(CODES, IDS, CONTEXT, words, latents=[0], top=2, around=3)
    assert [p.text for p in segments_of(str(table["text"].iloc[0]))] == [" w4", " w5", " w6 w7"]
    marked = [(p.text, p.strength) for p in segments_of(str(table["text"].iloc[1])) if p.strength]
    assert marked == [(" w1", 2.0), (" w2", 3.0)]


def test_latents_are_chosen_evenly_by_rate():
    assert evenly_by_rate(CODES, 5) == [0, 1]
    assert evenly_by_rate(codes({}), 5) == []
    assert "text" in top_contexts(codes({}), IDS, CONTEXT, words, latents=[0]).columns
