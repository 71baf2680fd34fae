"""A workplace where a second model can take the first one's place for a while, so that one is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.data.corpora import tokenizer_hash
from engine.errors import ModelError, SpecError
from engine.lab.lab import Lab

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel


def _nobody(name: str) -> HookedModel:
    raise ModelError(f"nobody here loads {name}", expected="a workplace that was given `load`")


@dataclass
class ExchangeLab(Lab):
    """A Lab with `load`, which puts a model into memory by name and lets go of the one that was there."""

    load: Callable[[str], HookedModel] = _nobody


@contextmanager
def another_model(lab: Lab, name: str) -> Iterator[None]:
    """`lab.model` is the model `name` inside, and the lab's own again afterwards; SpecError in a plain Lab.

    The lab's corpus, in the own model's tokens, is text to the other one too: SpecError where their
    tokenizers differ, before anything else is done with it. ModelError where it cannot be had. After an
    error the lab's own model is not fetched back.
    """
    if not isinstance(lab, ExchangeLab):
        raise SpecError("this workplace has one model", expected="an ExchangeLab", seen=type(lab).__name__)
    own = lab.model.name
    text = tokenizer_hash(lab.model.text)
    size = lab.model.text.get_vocab_size()
    # The last reference here: `load` frees what nobody refers to before it reads the other model's bytes, so
    # that the two are never in memory together.
    del lab.model
    lab.model = lab.load(name)
    if tokenizer_hash(lab.model.text) != text:
        raise SpecError(
            f"{own} and {name} do not share a tokenizer",
            expected=f"the {size:,} tokens of {own} with the same ids, for both read one text token by token",
            seen=f"{lab.model.text.get_vocab_size():,} tokens in {name}, or other ids for the same tokens",
        )
    yield
    del lab.model
    lab.model = lab.load(own)
