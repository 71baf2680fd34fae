"""Candidates are computed as far as something hangs on it, and the choice is that of computing all."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.errors import SpecError
from engine.families.refusal_direction.candidates import (
    NOT_NEEDED,
    Candidate,
    CandidateScores,
    Limits,
    Selector,
    find_candidates,
    select,
)
from engine.lab.directions import ablation_edits, addition_edits
from engine.lab.planted_gate import REFUSAL, gate_lab
from engine.lab.prompt_batches import streams_before_answer, token_rows
from engine.models.micro import micro_model

LOOSE = Limits(max_kl=50.0, min_induced=-50.0)


@pytest.fixture(scope="module")
def found() -> tuple[Selector, list[Candidate]]:
    """The planted model's candidates, and a selector over a few of its requests."""
    lab = gate_lab(gates=True)
    chats = lab.chat()
    harmful = (chats.table["label"] == "harmful").to_numpy()
    rows = token_rows(chats)
    streams = streams_before_answer(lab.model, rows, 2)
    asked = [rows[i] for i in np.flatnonzero(harmful)[:6]]
    other = [rows[i] for i in np.flatnonzero(~harmful)[:6]]
    tokens = [lab.model.token_ids([REFUSAL[0]])[0][0]]
    return Selector(lab.model, asked, other, tokens, 1.0), find_candidates(streams, harmful)


def silent(*_: object) -> None:
    """Nobody watches."""


def by_score(scores: list[CandidateScores], limits: Limits, n: int) -> list[int]:
    """The best that keep to the limits."""
    kept = [i for i, each in enumerate(scores) if not limits.broken(each)]
    return sorted(kept, key=lambda i: scores[i].ablated_score)[:n]


@pytest.mark.parametrize("max_kl", [50.0, 1e-3])
def test_the_best_are_those_of_computing_all(found: tuple[Selector, list[Candidate]], max_kl: float) -> None:
    selector, candidates = found
    limits = Limits(max_kl, -50.0)
    all_of_them = selector.scored(candidates, limits, len(candidates), silent)
    few = selector.scored(candidates, limits, 2, silent)
    assert by_score(few, limits, 2) == by_score(all_of_them, limits, 2)
    assert [each.ablated_score for each in few] == [each.ablated_score for each in all_of_them]


def test_what_decides_nothing_is_not_computed(
    found: tuple[Selector, list[Candidate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    selector, candidates = found
    scores = selector.scored(candidates, LOOSE, 2, silent)
    looked_at = [each for each in scores if each.kl is not None]
    assert len(looked_at) == 2 < len(candidates)
    assert all(each.induced_score is not None for each in looked_at)
    # Beyond the limit of the KL nothing hangs on what addition induces.
    strict = selector.scored(candidates, Limits(-1.0, 0.0), 2, silent)
    assert all(each.kl is not None and each.induced_score is None for each in strict)


def test_the_table_says_which_were_not_looked_at(
    found: tuple[Selector, list[Candidate]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    selector, candidates = found
    chosen = select(candidates, selector, LOOSE, n_screen=4, n_finalists=2, progress=silent)
    rows = chosen.table.to_dict("records")
    screened = [row for row in rows if row["stage"] == "screened"]
    not_needed = [row for row in screened if row["rejected"] == NOT_NEEDED]
    assert len(not_needed) == len(candidates) - 2
    assert all(np.isnan(row["kl"]) for row in not_needed)
    # In full, one that keeps to the limits is enough.
    in_full = [row for row in rows if row["stage"] == "in full"]
    assert [np.isnan(row["kl"]) for row in in_full].count(True) == 1
    assert [row["rejected"] for row in in_full if row["selected"]] == [""]
    assert chosen.keeps_limits


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        (CandidateScores(0.0), NOT_NEEDED),
        (CandidateScores(0.0, kl=0.2), "changes other requests"),
        (CandidateScores(0.0, kl=float("nan"), induced_score=1.0), "changes other requests"),
        (CandidateScores(0.0, kl=0.0, induced_score=-1.0), "does not induce"),
        (CandidateScores(0.0, kl=0.0, induced_score=float("nan")), "does not induce"),
        (CandidateScores(0.0, kl=0.1, induced_score=0.0), ""),
    ],
)
def test_why_a_candidate_is_rejected(scores: CandidateScores, reason: str) -> None:
    assert Limits(0.1, 0.0).broken(scores) == reason


def drawn(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_a_candidate_is_the_difference_in_means_at_its_place() -> None:
    streams = drawn(9, 2, 3, 8)
    candidates = find_candidates(streams, np.arange(9) < 4)
    assert [(each.layer, each.position) for each in candidates] == [
        (layer, position) for layer in range(2) for position in (-3, -2, -1)
    ]
    last = streams[:, 1, 2]
    assert torch.allclose(candidates[-1].direction, last[:4].mean(0) - last[4:].mean(0), atol=1e-6)


def test_a_place_where_the_kinds_are_the_same_has_no_candidate() -> None:
    streams = drawn(9, 2, 1, 8)
    streams[:, 0] = streams[0, 0]  # the template's tokens before the first block
    assert [each.layer for each in find_candidates(streams, np.arange(9) < 4)] == [1]


def test_what_a_candidate_does_is_what_single_forwards_say() -> None:
    model = micro_model(n_layers=3)
    tokens = (5, 6)
    asked, other = [[3, 5, 7, 9, 4], [8, 2, 6, 6, 3]], [[4, 4, 9, 2], [7, 1, 1]]
    candidate = Candidate(1, -1, 3 * drawn(32))
    selector = Selector(model, asked, other, tokens, coefficient=2.0)
    (scores,) = selector.scored([candidate], LOOSE, 1, silent)

    def after(row: list[int], edit: dict) -> torch.Tensor:
        return model.unembed(model.forward(torch.tensor([row]), edit=edit).resid[0, -1])

    def score(logits: torch.Tensor) -> float:
        p = logits.softmax(-1)[list(tokens)].sum()
        return float(torch.log(p / (1 - p)))

    ablation = ablation_edits(model, candidate.direction)
    addition = addition_edits(candidate.direction, 1, 2.0)
    kl = []
    for row in other:
        p = after(row, {}).softmax(-1)
        kl.append(float((p * (p / after(row, ablation).softmax(-1)).log()).sum()))
    ablated = [score(after(row, ablation)) for row in asked]
    induced = [score(after(row, addition)) for row in other]
    assert scores.ablated_score == pytest.approx(np.mean(ablated), abs=1e-4)
    assert scores.induced_score == pytest.approx(np.mean(induced), abs=1e-4)
    assert scores.kl == pytest.approx(np.mean(kl), abs=1e-5)


def test_no_candidate_is_an_error(found: tuple[Selector, list[Candidate]]) -> None:
    with pytest.raises(SpecError, match="no direction to choose from"):
        select([], found[0], LOOSE, n_screen=2, n_finalists=2, progress=silent)
