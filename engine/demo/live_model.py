"""The one model in memory, behind one lock, however many tabs are open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from threading import Event, RLock
from typing import TYPE_CHECKING, Any, TypeVar

from engine.data.corpora import Corpus
from engine.data.prompts import PromptSet, load_prompts, prompt_set_names
from engine.errors import DemoError, EngineError, ModelUnavailable, nearest
from engine.lab.lab import Lab
from engine.models.cards import availability, find_card, shape_of
from engine.models.known import ModelShape
from engine.runs.investigation import canonical_models
from engine.runs.sources import Sources, project_sources
from engine.spec.inputs import PAIRS, PromptKind
from engine.spec.models import CorpusChoice, PromptChoice

if TYPE_CHECKING:
    from engine.models.hooked import HookedModel

PACKAGE = Path(__file__).parents[1]
CORPUS = "smollm2-samples"
MOST_SHARED = 8
"""So many dictionaries, lenses and vectors are kept; the one that was not used for longest goes first."""

Shared = TypeVar("Shared")
LoadProgress = Callable[[str, int, int], None]
"""Hears what is fetched, how many bytes are done, and of how many."""


class LiveModel:
    """A model that is loaded once and lent to one request at a time.

    `lock` is held by whoever computes. What is expensive and of use to every request (a tuned lens, a
    dictionary) is made once and kept by `shared`; nothing that a reader typed is kept.
    """

    def __init__(self, name: str, sources: Sources | None = None, *, canonical: bool = False) -> None:
        """A model by its name or path, not loaded yet; `canonical` where the name is the one of specs."""
        self.sources = sources or project_sources()
        self.name = name if canonical else canonical_models([name])[0]
        self.lock = RLock()
        self._model: HookedModel | None = None
        self._failure: EngineError | None = None
        self._done = Event()
        self._shared: OrderedDict[Hashable, Any] = OrderedDict()
        self.vectors: dict[str, Path] = {}
        """Files with steering vectors that whoever started the server named, by what readers call them."""

    def require_available(self) -> None:
        """ModelUnknown or ModelUnavailable, before anything is imported or served for it."""
        find_card(self.name)
        can, why = availability(self.name)
        if not can:
            raise ModelUnavailable(f"{self.name} cannot be loaded: {why}")

    @classmethod
    def of(cls, model: HookedModel, sources: Sources | None = None) -> LiveModel:
        """A model that is at hand."""
        live = cls(model.name, sources, canonical=True)
        live._model = model
        live._done.set()
        return live

    def load(self, progress: LoadProgress = lambda what, done, total: None) -> None:
        """Fetch where needed, and load; whoever waits for the model hears of a failure too."""
        try:
            # float32, as families measure, so that a panel's numbers are those of a run.
            self._model = self.sources.load_model(self.name, "float32", progress)
        except EngineError as error:
            self._failure = error
            raise
        finally:
            self._done.set()

    @property
    def is_ready(self) -> bool:
        return self._model is not None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the model is loaded, and say whether it is; EngineError where it could not be."""
        self._done.wait(seconds)
        if self._failure is not None:
            raise self._failure
        return self.is_ready

    @property
    def model(self) -> HookedModel:
        """The model; DemoError while it is loading."""
        if self._model is None:
            raise DemoError(f"{self.name} is still loading", hint="try again in a moment")
        return self._model

    @property
    def shape(self) -> ModelShape | None:
        """The model's sizes, known before it is loaded; None for one that nothing says them of yet."""
        return self._model.shape if self._model else shape_of(self.name)

    def prompts(
        self,
        choice: str | Sequence[Mapping[str, Any]],
        kind: PromptKind = PAIRS,
        limit: int | None = None,
    ) -> PromptSet:
        """A packaged prompt set by its name, or rows at hand; DemoError for the name of anything else.

        At most `limit` prompts of a set, as a spec says it.
        """
        if not isinstance(choice, str):
            return load_prompts(PromptChoice(rows=[dict(row) for row in choice]), PACKAGE, kind)
        _require_packaged("prompt set", choice, prompt_set_names())
        return load_prompts(PromptChoice(name=choice, limit=limit), PACKAGE, kind)

    def corpus(self, name: str = CORPUS, tokens: int | None = None) -> Corpus:
        """A packaged corpus in the model's tokens; DemoError for what names a file or a dataset."""
        _require_packaged("corpus", name, [CORPUS])
        return self.sources.load_corpus(CorpusChoice(name=name, tokens=tokens), PACKAGE, self.model)

    def lab(self, **fields: Any) -> Lab:
        """A workplace on the model as a family is given it; `fields` are those of `Lab`."""
        return Lab(model=self.model, **fields)

    def shared(self, key: Hashable, make: Callable[[], Shared]) -> Shared:
        """What `make` gives, made once and kept under its key, the least recently used leaving first."""
        with self.lock:
            if key not in self._shared:
                made = make()
                self._shared[key] = made
                while len(self._shared) > MOST_SHARED:
                    self._shared.popitem(last=False)
            self._shared.move_to_end(key)
            return self._shared[key]


def _require_packaged(what: str, name: str, packaged: Sequence[str]) -> None:
    """Nothing that a reader sends may name a file of this machine, or reach another host."""
    if name not in packaged:
        raise DemoError(
            f"no {what} {name!r} comes with the engine",
            expected=", ".join(packaged),
            seen=name,
            near=nearest(name, packaged),
        )
