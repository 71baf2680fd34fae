"""Every error that a user can meet, in one tree.

EngineError                 anything the engine refuses to do; exit code 2, no traceback
|-- SpecError               a spec.yaml, sweep file or parameter that says something impossible
|   `-- ClaimError          a claim's predicate that cannot be parsed or evaluated
|-- TemplateError           a report, paper or thread template that cannot be rendered
|-- DataError               prompts or corpora that cannot be read or do not fit the model
|   |-- DataUnavailable     known, but cannot be had on this machine now; what needs it stays unmeasured
|   `-- WrongPromptKind     sound prompts, of another kind than the family reads
|-- ModelError              a model that cannot be used
|   |-- ModelUnknown        no source has this name
|   |-- ModelUnavailable    known, but cannot be had on this machine now; its column stays unmeasured
|   `-- ModelCorrupt        what arrived is not what was pinned, or is not a safe weight file
|-- StoreError              the run store cannot be read or written
|-- ResultError             a family returned something that is not evidence (NaN, no control)
|-- PictureError            a chart that cannot be drawn as a picture; its page shows the chart alone
|-- SiteError               the site cannot be written or built
`-- DemoError               the demo cannot start, or a request is beyond what it allows
    `-- RequestStopped      a request was cancelled, or its time was over
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EngineError(Exception):
    """A refusal with what a person needs in order to go on: where, expected, seen, nearest, hint."""

    def __init__(
        self,
        problem: str,
        *,
        where: str = "",
        expected: str = "",
        seen: str = "",
        near: Iterable[str] = (),
        hint: str = "",
        named_at: str = "",
    ) -> None:
        self.problem, self.where, self.expected, self.seen = problem, where, expected, seen
        self.near, self.hint, self.named_at = tuple(near), hint, named_at
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.problem}" if self.where else self.problem]
        rows = [
            ("expected", self.expected),
            ("seen", self.seen),
            ("nearest", ", ".join(self.near)),
            ("try", self.hint),
            # Where a spec names the file that `where` is a line of.
            ("named at", self.named_at),
        ]
        return "\n".join(lines + [f"  {label}: {text}" for label, text in rows if text])

    def __reduce__(self):
        """Rebuild with the keywords, so that an error crosses a process boundary whole."""
        fields = {k: getattr(self, k) for k in ("where", "expected", "seen", "near", "hint", "named_at")}
        return _rebuild, (type(self), self.problem, fields)


def _rebuild(kind: type[EngineError], problem: str, fields: dict) -> EngineError:
    return kind(problem, **fields)


class SpecError(EngineError):
    """A spec says something impossible."""


class ClaimError(SpecError):
    """A predicate cannot be parsed or evaluated."""


class TemplateError(EngineError):
    """A template cannot be rendered."""


class DataError(EngineError):
    """Prompts or a corpus cannot be read or do not fit the model."""


class DataUnavailable(DataError):
    """The corpus is known but cannot be had on this machine now."""


class WrongPromptKind(DataError):
    """The prompts are sound, and of another kind than the family reads; `kinds` are those that they are
    of."""

    kinds: tuple[str, ...] = ()


class ModelError(EngineError):
    """A model cannot be used."""


class ModelUnknown(ModelError):
    """No source has this name."""


class ModelUnavailable(ModelError):
    """The model is known but cannot be had on this machine now."""


class ModelCorrupt(ModelError):
    """What arrived is not what was pinned, or is not a safe weight file."""


class StoreError(EngineError):
    """The run store cannot be read or written."""


class ResultError(EngineError):
    """A family returned something that is not evidence."""


class PictureError(EngineError):
    """A chart cannot be drawn as a picture."""


class SiteError(EngineError):
    """The site cannot be written or built."""


class DemoError(EngineError):
    """The demo cannot start, or a request is beyond what it allows."""


class RequestStopped(DemoError):
    """A request was cancelled, or its time was over."""


def nearest(name: str, valid: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The valid names a person most likely meant by `name`, best first."""
    names = sorted(set(valid))
    exact = [v for v in names if v.lower() == name.lower()]
    return tuple(exact or difflib.get_close_matches(name, names, n=limit, cutoff=0.45))
