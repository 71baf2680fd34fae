"""The instruments on a model, for a notebook: `engine.Lab("smollm2-135m-instruct", prompts="facts")`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from pydantic import ValidationError

from engine.data.corpora import Corpus
from engine.data.prompts import PromptSet
from engine.errors import SpecError, nearest
from engine.lab.lab import Lab
from engine.lab.lens import last_position_streams
from engine.models.sites import site_of
from engine.runs.interactive.rows import with_rows
from engine.runs.investigation import canonical_models, project_or_none
from engine.runs.sources import project_sources
from engine.runs.store.store import FOLDER
from engine.spec.inputs import PAIRS, PromptKind
from engine.spec.models import CorpusChoice, PromptChoice
from engine.spec.sites import resolve_site

if TYPE_CHECKING:
    from torch import Tensor

    from engine.models.hooked import HookedModel

PromptsAtHand = str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | pd.DataFrame
"""A name, a choice as in a spec, or rows."""

Choice = TypeVar("Choice", PromptChoice, CorpusChoice)


class ModelLab(Lab):
    """A model with what an experiment would be given: prompts, text, a hook site; and quick looks at a text.

    All that a family's `run` does with its `lab` can be tried on it.
    """

    def __init__(
        self,
        model: str | HookedModel,
        *,
        prompts: str
        | Mapping[str, Any]
        | Sequence[Mapping[str, Any]]
        | pd.DataFrame
        | PromptSet
        | None = None,
        kind: PromptKind = PAIRS,
        corpus: str | Mapping[str, Any] | Corpus | None = None,
        hook_site: str | None = None,
        dtype: str = "float32",
    ) -> None:
        """Load a model by its name or path; prompts, corpus and hook site are written as in a spec.

        Prompts may be rows too, in a list or a frame; `kind` says what they are ("contrast", "chat", ...).
        EngineError for a name that no source has, data that cannot be read, and a site that the model lacks.
        """
        sources = project_sources()
        here = Path.cwd()
        if isinstance(model, str):
            model = sources.load_model(canonical_models([model])[0], dtype, lambda what, done, total: None)
        given = prompts
        if given is not None and not isinstance(given, PromptSet):
            given = sources.load_prompts(_chosen(PromptChoice, with_rows(given)), here, kind)
        text = corpus
        if text is not None and not isinstance(text, Corpus):
            text = sources.load_corpus(_chosen(CorpusChoice, text), here, model)
        root = project_or_none()
        super().__init__(
            model=model,
            prompts=given,
            corpus=text,
            hook_site=resolve_site(hook_site, model.n_layers) if hook_site else None,
            # What is harvested is kept in a project, where it can be used again, and nowhere else.
            folder=root / FOLDER if root else None,
        )

    def tokens(self, text: str) -> list[str]:
        """The text as the model reads it, token by token."""
        return self.model.token_strings(self._ids(text))

    def next_tokens(self, text: str, top: int = 10) -> pd.DataFrame:
        """The likeliest next tokens with their probability, the likeliest first."""
        resid = self.model.layers(self.model.embed(self._input(text)))[:, -1]
        return self._likeliest(self.model.unembed(resid), top).drop(columns="layer")

    def lens(self, text: str, top: int = 1) -> pd.DataFrame:
        """What the model would say next if it stopped after each block; layer 0 reads the embedding."""
        streams = last_position_streams(self.model, self._input(text))[0]
        return self._likeliest(self.model.unembed(streams), top)

    def activations(self, text: str, hook_site: str | None = None) -> Tensor:
        """What stands at a hook site (the lab's own by default) for a text: "pos" and the site's own axes."""
        site = hook_site or self.hook_site
        if site is None:
            raise SpecError("no hook site is named", expected="blocks.6.hook_resid_pre, or the like")
        place = site_of(resolve_site(site, self.model.n_layers), self.model.n_layers)
        return self.model.forward(self._input(text), read=[place]).activations[place][0]

    def __repr__(self) -> str:
        shape = self.model.shape
        sizes = f"{shape.n_layers} layers, {shape.n_heads} heads, d_model {shape.d_model}"
        return f"Lab on {self.model.name}: {sizes}"

    def _ids(self, text: str) -> list[int]:
        ids = self.model.token_ids([text])[0]
        if not ids:
            raise SpecError("the text has no token", expected="at least one", seen=repr(text))
        return ids

    def _input(self, text: str) -> Tensor:
        return self.model.pad([self._ids(text)])[0]

    def _likeliest(self, logits: Tensor, top: int) -> pd.DataFrame:
        """The `top` likeliest tokens of each row of logits, "layer vocab"."""
        likely = logits.float().softmax(-1).topk(top)
        ids = likely.indices.cpu().numpy()
        return pd.DataFrame(
            {
                "layer": np.repeat(np.arange(len(ids)), top),
                "token": self.model.token_strings(ids.ravel().tolist()),
                "probability": likely.values.cpu().detach().numpy().ravel(),
            }
        )


def _chosen(kind: type[Choice], given: str | Mapping[str, Any]) -> Choice:
    """What is chosen, by its name alone or by the keys of a spec; SpecError for others."""
    try:
        return kind.model_validate({"name": given} if isinstance(given, str) else dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise SpecError(
            f"this is no {kind.__name__}: {first['msg'].lower()}",
            where=key,
            expected="the keys " + ", ".join(kind.model_fields),
            seen=repr(first["input"]),
            near=nearest(key, kind.model_fields),
        ) from None
