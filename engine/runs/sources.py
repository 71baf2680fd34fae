"""What runs take from families, models, data and the lab, as functions, so that a test can put toys there."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import families
from engine.data.corpora import Corpus, corpus_hash, count_characters, load_corpus, tokens_by_name
from engine.data.prompts import PromptSet, data_hash, load_prompts
from engine.errors import DataError
from engine.models import declared_chat_template
from engine.models.cards import availability, find_card, is_cached, memory_needed, model_hash, shape_of
from engine.runs.investigation import project_or_none
from engine.runs.model_paths import located, missing_path
from engine.spec.document import Loc
from engine.spec.inputs import PromptKind
from engine.spec.models import CorpusChoice, PromptChoice
from engine.spec.points import FamilyCatalog

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

PACKAGE = Path(__file__).parents[1]
SHARED_CODE = (PACKAGE / "lab" / "lab.py", PACKAGE / "models" / "load.py")  # behind every family
CHARACTERS_PER_TOKEN = 4  # of English text, about
LIBRARIES = ("torch", "transformers", "transformer-lens", "numpy")


@dataclass(frozen=True)
class ModelFacts:
    """What a plan must know of a model, without loading it or importing torch.

    `hash` and `n_layers` are None while unknown; `fetch_bytes` is 0 once the model is cached; `reason`
    says why it is not available, or what getting it takes.
    """

    hash: str | None
    n_layers: int | None
    n_params: int
    fetch_bytes: int
    memory_bytes: int
    available: bool
    reason: str = ""


@dataclass(frozen=True)
class Sources:
    """The other rooms as functions.

    `family(name)` has `Params` and `run(lab, params) -> Result`; `make_lab` takes the fields of
    `engine.lab.second_model.ExchangeLab` by name; `has_chat_template(name)` is None of a model of which that
    is not known here; `check_prompts` and `check_corpus` read data through, raise
    DataError, and return how many prompts or tokens there are; `load_model(name, dtype, progress)` fetches
    too, and `progress` hears (what, done, total). `maker` makes the same sources in another process, to which
    it is sent by name.
    """

    catalog: FamilyCatalog
    family_file: Callable[[str], Path]
    family: Callable[[str], Any]
    model_facts: Callable[[str, str], ModelFacts]
    has_chat_template: Callable[[str], bool | None]
    data_hash: Callable[[PromptChoice, Path], str]
    load_prompts: Callable[[PromptChoice, Path, PromptKind], PromptSet]
    check_prompts: Callable[[PromptChoice, Path, PromptKind, Callable[[Loc], str]], int]
    corpus_hash: Callable[[CorpusChoice, Path], str]
    check_corpus: Callable[[CorpusChoice, Path], int]
    load_corpus: Callable[[CorpusChoice, Path, HookedModel], Corpus]
    load_model: Callable[[str, str, Callable[[str, int, int], None]], HookedModel]
    make_lab: Callable[..., Any]
    versions: Callable[[], Mapping[str, str]]
    package: Path = PACKAGE
    shared_code: tuple[Path, ...] = SHARED_CODE
    maker: Callable[[], Sources] | None = None


class Families:
    """The family registry as a spec sees it."""

    def names(self) -> list[str]:
        """Every family, by file name."""
        return families.names()

    def params(self, name: str) -> Any:
        """The family's parameters, a pydantic model."""
        return families.params_model(name)

    def inputs(self, name: str) -> Any:
        """What the family reads."""
        return families.inputs(name)


def project_sources() -> Sources:
    """The engine's own rooms; torch is imported only once a model is loaded."""
    return Sources(
        catalog=Families(),
        family_file=families.source_path,
        family=families.get,
        model_facts=model_facts,
        has_chat_template=has_chat_template,
        data_hash=data_hash,
        check_prompts=check_prompts,
        load_prompts=load_prompts,
        corpus_hash=corpus_hash,
        check_corpus=check_corpus,
        load_corpus=load_corpus,
        load_model=_load_model,
        make_lab=_make_lab,
        versions=installed_versions,
        maker=project_sources,
    )


def model_facts(name: str, dtype: str) -> ModelFacts:
    """The facts of a model from its card and the cache; ModelUnknown where no source has this name.

    A model of the project goes by its path there (`model_paths`), wherever the working directory is in it. A
    path where nothing lies is known and not available: it is no mistake, but a folder that a clone has not.
    """
    place = located(name, project_or_none())
    if missing_path(place):
        reason = f"there is no file or folder {name} here"
        return ModelFacts(None, None, 0, 0, 0, available=False, reason=reason)
    card = find_card(place)
    shape = shape_of(place)
    available, reason = availability(place, dtype)
    return ModelFacts(
        # A pinned model's bytes are known before they are fetched.
        hash=model_hash(place) or card.pins.sha256 or None,
        n_layers=shape.n_layers if shape else None,
        n_params=card.n_params or 0,
        fetch_bytes=0 if is_cached(card) else card.size_bytes or 0,
        memory_bytes=memory_needed(card, dtype),
        available=available,
        reason=reason,
    )


def has_chat_template(name: str) -> bool | None:
    """Whether a model has a chat template; None where nothing can be said, as of a model not fetched yet."""
    place = located(name, project_or_none())
    return None if missing_path(place) else declared_chat_template.has_chat_template(place)


def check_prompts(choice: PromptChoice, folder: Path, kind: PromptKind, place: Callable[[Loc], str]) -> int:
    """How many prompts are chosen; DataError with file and line where they cannot be used as this kind.

    `place` says where in the spec something inside of `prompts:` stands.
    """
    found = len(load_prompts(choice, folder, kind, place).table)
    if found < 2:
        expected = "two prompts or more, over which an interval can be had"
        raise DataError("one prompt is too few", where=place(()), expected=expected, seen=f"{found}")
    return found


def check_corpus(choice: CorpusChoice, folder: Path) -> int:
    """About how many tokens are chosen; DataError with file and line where the text cannot be read."""
    characters = count_characters(choice, folder)
    # Packaged and hub corpora count no characters: what is asked for is there, or all that the name means.
    if not characters:
        return choice.tokens or tokens_by_name(choice.name)
    whole = round(characters / CHARACTERS_PER_TOKEN)
    return min(whole, choice.tokens) if choice.tokens else whole


def installed_versions() -> dict[str, str]:
    """Python and the libraries that numbers pass through, read from package metadata."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = "not installed"
    return versions


def _load_model(name: str, dtype: str, progress: Callable[[str, int, int], None]) -> HookedModel:
    from engine.models.load import load

    model = load(located(name, project_or_none()), dtype=dtype, progress=progress)
    # The model carries the name that specs and runs have, not the path that it was loaded from.
    return replace(model, name=name)


def _make_lab(**fields: Any) -> Any:
    from engine.lab.second_model import ExchangeLab

    return ExchangeLab(**fields)
