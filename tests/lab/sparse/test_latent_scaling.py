"""Latent scaling on hand-made crosscoders whose exclusives are real, shrunk away, or decoupled."""

from dataclasses import replace

import pytest
import torch

from engine.lab.sparse.crosscoder import Crosscoder
from engine.lab.sparse.latent_scaling import held_out, ratio_to_own
from engine.lab.sparse.planted_sources import PlantedSources, planted_sources

D = 16


@pytest.fixture(scope="module")
def sources() -> PlantedSources:
    """Feature 0 in both sources with one direction, feature 1 in the first alone; all orthogonal."""
    planted = planted_sources(1, 1, d=D, rate=0.3)
    directions = torch.zeros_like(planted.directions)
    directions[0, :, 0], directions[1, 0, 1], directions[2, 1, 2] = 1, 1, 1
    return PlantedSources(directions, 0.3)


def crosscoder(directions: torch.Tensor, encoders: torch.Tensor) -> Crosscoder:
    """Latents that read `encoders` and write `directions`, "latent source d", without scaling."""
    n = len(directions)
    return Crosscoder(
        encoders.flatten(1),
        torch.zeros(n),
        directions.flatten(1),
        torch.zeros(2 * D),
        torch.zeros(2, D),
        torch.ones(2),
        k=2,
        threshold=0.5,
    )


def ratios(coder: Crosscoder, sources: PlantedSources) -> tuple[torch.Tensor, torch.Tensor]:
    rows = sources.draw(4000, 1)
    found = held_out(coder, [(rows, torch.arange(4000) // 100)], 40)
    own = coder.norms.argmax(dim=1)
    return ratio_to_own(found.error_scale, own), ratio_to_own(found.reconstruction_scale, own)


def test_a_real_exclusive_has_ratios_near_zero(sources):
    coder = crosscoder(sources.directions, sources.directions / torch.tensor([2.0, 1, 1])[:, None, None])
    by_error, by_rebuilt = ratios(coder, sources)
    assert by_error[1].abs() < 0.05
    assert by_rebuilt[1].abs() < 0.05
    assert by_error[0] == pytest.approx(1, abs=0.05)


def test_a_concept_that_was_dropped_is_found_in_the_error(sources):
    written = sources.directions.clone()
    written[0, 1] = 0  # complete shrinkage: feature 0 is in the second source and its latent is not
    coder = crosscoder(written, sources.directions / torch.tensor([2.0, 1, 1])[:, None, None])
    by_error, by_rebuilt = ratios(coder, sources)
    assert by_error[0] == pytest.approx(1, abs=0.05)
    assert by_rebuilt[0].abs() < 0.05


def test_a_concept_that_another_latent_writes_is_found_in_the_reconstruction(sources):
    first, second = sources.directions[:1].clone(), sources.directions[:1].clone()
    first[0, 1], second[0, 0] = 0, 0  # latent decoupling: one latent for each source
    both = sources.directions[:1] / 2
    coder = crosscoder(torch.cat([first, second]), torch.cat([both, both]))
    by_error, by_rebuilt = ratios(coder, sources)
    assert by_error[0].abs() < 0.05
    assert by_rebuilt[0] == pytest.approx(1, abs=0.05)


def test_factors_are_those_of_least_squares(sources):
    generator = torch.Generator().manual_seed(0)
    written, read = torch.randn(2, 3, 2, D, generator=generator) / 2
    coder = replace(crosscoder(written, read), threshold=0.05)
    rows = sources.draw(500, 2)
    found = held_out(coder, [(rows[:200], torch.zeros(200).long()), (rows[200:], torch.ones(300).long())], 2)
    codes, rebuilt = coder.encode(rows), coder.decode(coder.encode(rows))
    for latent, source in ((0, 0), (1, 1), (2, 0)):
        own = coder.directions[latent, coder.norms[latent].argmax()]
        column = torch.einsum("r,d->rd", codes[:, latent], own).flatten()[:, None]
        put_back = codes[:, latent, None] * coder.directions[latent, source]
        error = (rows[:, source] - rebuilt[:, source] + put_back).flatten()[:, None]
        slow = torch.linalg.lstsq(column, error).solution.item()
        assert found.error_scale[latent, source].item() == pytest.approx(slow, abs=1e-4)
        slow = torch.linalg.lstsq(column, rebuilt[:, source].flatten()[:, None]).solution.item()
        assert found.reconstruction_scale[latent, source].item() == pytest.approx(slow, abs=1e-4)
    assert found.residual.sum(dim=0) == pytest.approx(
        (rows - rebuilt).square().sum(dim=(0, 2)).numpy(), rel=1e-4
    )
    assert found.n_rows.tolist() == [200, 300]
    assert found.fired.tolist() == (codes > 0).sum(dim=0).tolist()
    assert found.active.sum() == (codes > 0).sum()
