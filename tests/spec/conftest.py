"""Families that exist only here, and specs written to a temporary folder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from engine.errors import SpecError
from engine.spec.inputs import Inputs
from engine.spec.load import load_spec


class Nested(BaseModel, extra="forbid"):
    rate: float = 0.1


class Lens(BaseModel, extra="forbid", use_attribute_docstrings=True):
    commit_rank: Annotated[int, Field(ge=0)] = 0
    """The worst rank that still counts as committed."""
    normalise: bool = True
    sites: tuple[Literal["resid_pre", "attn_out", "mlp_out"], ...] = ("resid_pre",)
    seed: int = 0
    fit: Nested = Nested()


class Coder(BaseModel, extra="forbid"):
    n_features: Annotated[int, Field(gt=0)]
    k: Annotated[int, Field(gt=0)] = 32
    learning_rate: float = 1e-3
    seed: int = 0

    @model_validator(mode="after")
    def sparse(self) -> "Coder":
        if self.k > self.n_features:
            raise ValueError(f"k ({self.k}) is larger than n_features ({self.n_features})")
        return self


class Stability(BaseModel, extra="forbid"):
    pass


class Catalog:
    families = {"lens": Lens, "coder": Coder, "stability": Stability}
    declared: dict[str, Inputs] = {}

    def names(self) -> list[str]:
        return list(self.families)

    def params(self, name: str) -> type[BaseModel]:
        return self.families[name]

    def inputs(self, name: str) -> Inputs | None:
        return self.declared.get(name)


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
def load(tmp_path: Path, catalog: Catalog) -> Callable:
    """Write text as spec.yaml (or another name) and load it."""

    def write_and_load(text: str, name: str = "spec.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return load_spec(path, catalog)

    return write_and_load


@pytest.fixture
def told(load: Callable) -> Callable[[str], str]:
    """What is said of a spec that is refused: with its file, and in no words of pydantic's."""

    def refused(text: str) -> str:
        with pytest.raises(SpecError) as caught:
            load(text)
        message = str(caught.value)
        assert "spec.yaml:" in message
        assert not re.search("pydantic|http|Input should|validation", message)
        return message

    return refused
