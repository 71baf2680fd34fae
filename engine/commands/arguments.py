"""What a person names on the command line: investigations, models, files; what is not there is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.errors import EngineError, nearest
from engine.runs.investigation import Investigation, canonical_models, chosen_investigations
from engine.runs.planning.plan import Plan, make_plan
from engine.runs.sources import project_sources
from engine.runs.store.record import RunName
from engine.runs.store.store import RunStore, open_store


def require(names: Sequence[str], known: set[str], what: str) -> None:
    """EngineError for a name that is not known, with the nearest that are."""
    for name in names:
        if name not in known:
            raise EngineError(
                f"no {what} is called {name!r}",
                expected="one of " + ", ".join(sorted(known)),
                near=nearest(name, known),
            )


def existing_spec(path: Path) -> Path:
    """The path of a spec file that is there; EngineError with the nearest ones where it is not."""
    if path.is_file():
        return path
    # Misspelt, most likely: the names that lie in the same folder are the ones to look among.
    beside = [p.name for p in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
    raise EngineError("there is no such spec file", where=str(path), near=nearest(path.name, beside))


def existing_parent(path: Path) -> Path:
    """The path of a file to write, in a folder that is there; EngineError where it is not."""
    if path.parent.is_dir():
        return path
    raise EngineError("there is no such folder", where=str(path.parent), expected="one that exists")


def run_selector(
    investigations: Sequence[Investigation], slugs: Sequence[str] | None, models: Sequence[str] | None
) -> Callable[[RunName], bool]:
    """Which runs the named investigations and --model choose; a name that is not there is refused."""
    # A path may be typed in several ways, and a spec has one of them.
    named_models = canonical_models(models or ())
    known_slugs = {investigation.slug for investigation in investigations}
    known_models = {model for investigation in investigations for model in investigation.spec.models}
    require(slugs or (), known_slugs, "investigation")
    require(named_models, known_models, "model in any spec")
    return lambda name: (not slugs or name.slug in slugs) and (not models or name.model in named_models)


@contextmanager
def current_plan(root: Path, slugs: Sequence[str] | None = None) -> Iterator[tuple[RunStore, Plan]]:
    """The store and the plan of the named investigations (all by default) as they are, measuring nothing."""
    sources = project_sources()
    chosen = chosen_investigations(root, slugs, sources.catalog)
    with open_store(root) as store:
        yield store, make_plan(chosen, store, sources, budget=0)
