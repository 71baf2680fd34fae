"""Tokens are drawn from the distribution that temperature and top-p leave, each text by its own generator."""

import math

import pytest
import torch

from engine.errors import SpecError
from engine.models.sampling import GREEDY, Sampling

LOGITS = torch.randn(6, 50, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 1.0])
def test_the_distribution_is_hugging_faces(temperature, top_p):
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    ids = torch.zeros(6, 1, dtype=torch.long)
    warped = TemperatureLogitsWarper(temperature)(ids, LOGITS)  # pyright: ignore[reportArgumentType]
    expected = TopPLogitsWarper(top_p)(ids, warped).softmax(-1)  # pyright: ignore[reportArgumentType]
    found = Sampling(temperature, top_p).probabilities(LOGITS)
    torch.testing.assert_close(found / found.sum(-1, keepdim=True), expected, atol=1e-6, rtol=1e-5)


def test_the_most_likely_token_is_always_in_the_nucleus():
    drawn = Sampling(top_p=1e-9).choose(LOGITS, [torch.Generator() for _ in range(6)])
    assert torch.equal(drawn, LOGITS.argmax(-1))
    assert torch.equal(GREEDY.choose(LOGITS, []), LOGITS.argmax(-1))


def test_a_low_temperature_is_greedy():
    drawn = Sampling(temperature=1e-4).choose(LOGITS, [torch.Generator() for _ in range(6)])
    assert torch.equal(drawn, LOGITS.argmax(-1))


def test_a_row_is_drawn_by_its_generator_alone():
    sampling = Sampling(2.0, seed=3)

    def generators(rows):
        return [sampling.generator([row], 0) for row in rows]

    together = sampling.choose(LOGITS, generators(range(6)))
    for rows in ([0], [3, 1], [5, 4, 2]):
        assert torch.equal(sampling.choose(LOGITS[rows], generators(rows)), together[rows])


def test_rounding_of_logits_turns_hardly_a_draw():
    """The tail of a large vocabulary included: by summing probabilities it would turn many."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(300, 20_000, generator=generator)
    rounded = logits + 1e-5 * torch.randn(logits.shape, generator=generator)
    sampling = Sampling()

    def drawn(values):
        return sampling.choose(values, [sampling.generator([row], 0) for row in range(300)])

    assert (drawn(logits) != drawn(rounded)).sum() <= 1


def test_seed_prompt_and_copy_each_give_another_generator():
    told = [
        Sampling(seed=seed).generator(prompt, copy).initial_seed()
        for seed in (0, 1, -1)
        for prompt in ([1, 2], [12], [2, 1])
        for copy in (0, 1)
    ]
    assert len(set(told)) == 18
    again = Sampling(0.5, 0.5, seed=1).generator([12], 1).initial_seed()
    assert again == Sampling(seed=1).generator((12,), 1).initial_seed()


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with pytest.raises(SpecError, match=r"(?s)temperature.*above 0.*GREEDY"):
        Sampling(temperature)


@pytest.mark.parametrize("top_p", [0, -0.1, 1.01, math.nan])
def test_a_top_p_outside_of_0_to_1_is_refused(top_p):
    with pytest.raises(SpecError, match=r"(?s)top_p.*above 0 and at most 1"):
        Sampling(top_p=top_p)


def test_a_seed_that_is_no_whole_number_is_refused(unchecked_shapes):
    with pytest.raises(SpecError, match=r"(?s)whole number.*seen: 1\.5"):
        Sampling(seed=1.5)  # pyright: ignore[reportArgumentType]
