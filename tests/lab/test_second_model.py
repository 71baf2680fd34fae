"""A second model in the first one's place: one in memory at a time, one tokenizer for both."""

import gc
import weakref

import pytest

from engine.errors import ModelUnavailable, SpecError
from engine.lab.lab import Lab
from engine.lab.second_model import ExchangeLab, another_model
from engine.models.hooked import HookedModel
from engine.models.micro import WORDS, micro_model

OWN = {"d_model": 32}
MODELS = {"wide": {"d_model": 48, "n_layers": 3}, "other words": {"vocab_words": WORDS[:9]}}


def test_one_model_is_in_memory_and_the_first_comes_back():
    alive: weakref.WeakSet[HookedModel] = weakref.WeakSet()

    def load(name: str) -> HookedModel:
        gc.collect()
        assert not list(alive)
        model = micro_model(**MODELS.get(name, OWN))
        alive.add(model)
        return model

    lab = ExchangeLab(load("own"), load=load)
    name = lab.model.name
    with another_model(lab, "wide"):
        assert (lab.model.shape.d_model, len(alive)) == (48, 1)
    assert (lab.model.name, len(alive)) == (name, 1)


def test_another_tokenizer_is_refused_with_both_names():
    lab = ExchangeLab(micro_model(), load=lambda name: micro_model(**MODELS[name]))
    with (
        pytest.raises(SpecError, match=r"micro-llama.* and other words do not share a tokenizer") as caught,
        another_model(lab, "other words"),
    ):
        raise AssertionError("nothing is read")
    assert "tokens of micro-llama" in caught.value.expected


def test_a_model_that_cannot_be_had_says_so():
    def load(name: str) -> HookedModel:
        raise ModelUnavailable(f"{name} cannot be loaded")

    with (
        pytest.raises(ModelUnavailable, match="wide"),
        another_model(ExchangeLab(micro_model(), load=load), "wide"),
    ):
        pass
    with pytest.raises(SpecError, match="one model"), another_model(Lab(micro_model()), "wide"):
        pass
