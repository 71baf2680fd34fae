"""Latent scaling on hand-made crosscoders whose exclusives are real, shrunk away, or decoupled.

Each in one basis, and with the second source wider and in a basis of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from engine.families.crosscoder.latent_scaling import (
    carried_directions,
    held_out,
    ratio_to_own,
    same_directions,
)
from engine.families.crosscoder.planted_sources import PlantedSources
from engine.lab.sparse.crosscoder import Crosscoder

D, WIDER = 16, 24


@dataclass(frozen=True)
class Case:
    """Sources, and how directions get from one into the other."""

    sources: PlantedSources
    probes: Callable[[Crosscoder], Tensor]


def turn(width: int) -> Tensor:
    """An isometry from the first source's basis, the identity where the widths are the same."""
    drawn = torch.randn(width, D, generator=torch.Generator().manual_seed(7))
    return torch.eye(D) if width == D else torch.linalg.qr(drawn).Q.T


@pytest.fixture(params=[D, WIDER], ids=["one basis", "two bases"])
def case(request) -> Case:
    """Feature 0 in both sources, feature 1 in the first alone, feature 2 in the second; all orthogonal."""
    first, second = torch.zeros(2, 3, D)
    first[0, 0], second[0, 0], first[1, 1], second[2, 2] = 1, 1, 1, 1
    directions = torch.cat([first, second @ turn(request.param)], dim=1)
    sources = PlantedSources(directions, (D, request.param), 0.3)
    rows = sources.draw(4000, 2)
    apart = request.param != D
    return Case(sources, lambda coder: carried_directions(coder, rows) if apart else same_directions(coder))


def crosscoder(case: Case, written: Tensor, read: Tensor) -> Crosscoder:
    """Latents that read and write directions, "latent width", without scaling."""
    n, width = written.shape
    nothing = torch.zeros(width)
    widths = case.sources.widths
    return Crosscoder(read, torch.zeros(n), written, nothing, nothing, nothing + 1, widths, 2, 0.5)


def ratios(coder: Crosscoder, case: Case) -> tuple[Tensor, Tensor]:
    rows = case.sources.draw(4000, 1)
    batches = [(rows, torch.arange(4000) // 100)]
    found, own = held_out(coder, batches, 40, case.probes(coder)), coder.norms.argmax(dim=1)
    return ratio_to_own(found.error_scale, own), ratio_to_own(found.reconstruction_scale, own)


def reading(case: Case) -> Tensor:
    """Encoders that find each feature's strength."""
    return case.sources.directions / torch.tensor([2.0, 1, 1])[:, None]


def test_a_real_exclusive_has_ratios_near_zero(case):
    coder = crosscoder(case, case.sources.directions, reading(case))
    by_error, by_rebuilt = ratios(coder, case)
    assert by_error[1].abs() < 0.05
    assert by_rebuilt[1].abs() < 0.1
    assert by_error[0] == pytest.approx(1, abs=0.05)


def test_a_concept_that_was_dropped_is_found_in_the_error(case):
    written = case.sources.directions.clone()
    written[0, D:] = 0  # complete shrinkage: feature 0 is in the second source and its latent is not
    by_error, by_rebuilt = ratios(crosscoder(case, written, reading(case)), case)
    assert by_error[0] == pytest.approx(1, abs=0.05)
    assert by_rebuilt[0].abs() < 0.1


def test_a_concept_that_another_latent_writes_is_found_in_the_reconstruction(case):
    first, second = case.sources.directions[:1].clone(), case.sources.directions[:1].clone()
    first[0, D:], second[0, :D] = 0, 0  # latent decoupling: one latent for each source
    both = case.sources.directions[:1] / 2
    coder = crosscoder(case, torch.cat([first, second]), torch.cat([both, both]))
    by_error, by_rebuilt = ratios(coder, case)
    assert by_error[0].abs() < 0.05
    assert by_rebuilt[0] == pytest.approx(1, abs=0.05)


def test_what_is_carried_keeps_its_length_and_its_own_source(case):
    generator = torch.Generator().manual_seed(0)
    written = torch.randn(5, sum(case.sources.widths), generator=generator)
    coder = crosscoder(case, written, written)
    carried = carried_directions(coder, case.sources.draw(500, 3)).split(case.sources.widths, dim=1)
    largest, lengths = coder.norms.argmax(dim=1), coder.norms.amax(dim=1)
    for source, part in enumerate(carried):
        assert part.norm(dim=1).numpy() == pytest.approx(lengths.numpy(), rel=1e-4)
        own = largest == source
        assert torch.allclose(part[own], coder.directions[source][own])


def factor(codes: Tensor, probe: Tensor, target: Tensor) -> float:
    """How many times a direction, as active as the codes say, is in a target, both about their means."""
    column = torch.einsum("r,d->rd", codes - codes.mean(), probe).flatten()[:, None]
    return torch.linalg.lstsq(column, (target - target.mean(dim=0)).flatten()[:, None]).solution.item()


def test_factors_are_those_of_least_squares(case):
    generator = torch.Generator().manual_seed(0)
    written, read = torch.randn(2, 3, sum(case.sources.widths), generator=generator) / 2
    coder = replace(crosscoder(case, written, read), threshold=0.05)
    rows, widths, probes = case.sources.draw(500, 2), case.sources.widths, case.probes(coder)
    batches = [(rows[:200], torch.zeros(200).long()), (rows[200:], torch.ones(300).long())]
    found = held_out(coder, batches, 2, probes)
    codes, rebuilt = coder.encode(rows), coder.decode(coder.encode(rows))
    errors, parts = (rows - rebuilt).split(widths, dim=1), rebuilt.split(widths, dim=1)
    for latent, source in ((0, 0), (1, 1), (2, 0)):
        probe = probes.split(widths, dim=1)[source][latent]
        put_back = codes[:, latent, None] * coder.directions[source][latent]
        slow = factor(codes[:, latent], probe, errors[source] + put_back)
        assert found.error_scale[latent, source].item() == pytest.approx(slow, abs=1e-4)
        slow = factor(codes[:, latent], probe, parts[source])
        assert found.reconstruction_scale[latent, source].item() == pytest.approx(slow, abs=1e-4)
    squared = torch.stack([error.square().sum() for error in errors])
    assert found.residual.sum(dim=0).numpy() == pytest.approx(squared.numpy(), rel=1e-4)
    assert found.n_rows.tolist() == [200, 300]
    assert found.fired.tolist() == (codes > 0).sum(dim=0).tolist()
    assert found.active.sum() == (codes > 0).sum()
