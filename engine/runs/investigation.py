"""An investigation on disk: its folder, spec and template, and where the project begins."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.errors import EngineError, SpecError, nearest
from engine.spec.load import load_spec
from engine.spec.models import Spec
from engine.spec.points import FamilyCatalog


@dataclass(frozen=True)
class Investigation:
    """A question: `investigations/<slug>/` with `spec.yaml`, `report.md` and `published/`."""

    slug: str
    folder: Path
    spec: Spec
    spec_path: Path
    template_path: Path
    typed: str = ""  # what a person types to measure it, where that is not `mech run`

    @property
    def published_folder(self) -> Path:
        return self.folder / "published"

    def on_models(self, models: Iterable[str]) -> Investigation:
        """The same questions asked of these models, whether the spec lists them or not."""
        chosen = list(models)
        asked = {n: e.model_copy(update={"models": None}) for n, e in self.spec.experiments.items()}
        return replace(self, spec=self.spec.model_copy(update={"models": chosen, "experiments": asked}))

    def command(self, experiment: str, model: str) -> str:
        """What a person types to measure this experiment again."""
        if self.typed:
            return shlex.join([*shlex.split(self.typed), "--model", model])
        if self.spec_path.name != "spec.yaml":
            return shlex.join(["mech", "run", "--spec", self.spec_path.name, "--model", model])
        return shlex.join(["mech", "run", "--name", self.run_name(experiment), "--model", model])

    def run_name(self, experiment: str) -> str:
        """`fact-recall/lens`, or the name that the spec gives the experiment."""
        return self.spec.experiments[experiment].name or f"{self.slug}/{experiment}"


def find_root(start: Path | None = None) -> Path:
    """The project's folder: the nearest one upwards with `mkdocs.yml` and `investigations/`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "mkdocs.yml").is_file() and (folder / "investigations").is_dir():
            return folder
    raise EngineError(
        "this is not inside a project",
        where=str(here),
        expected="a folder with mkdocs.yml and investigations/, here or above",
        hint="cd into the clone, or name it with --root",
    )


def spec_paths(root: Path) -> dict[str, Path]:
    """Every `investigations/*/spec.yaml` by slug, in alphabetical order; nothing is read."""
    return {p.parent.name: p for p in sorted((root / "investigations").glob("*/spec.yaml"))}


def find_investigations(root: Path, catalog: FamilyCatalog) -> list[Investigation]:
    """Every investigation of the project; SpecError for the first spec that says something impossible."""
    return [load_investigation(path, catalog) for path in spec_paths(root).values()]


def find_investigation(root: Path, slug: str, catalog: FamilyCatalog) -> Investigation:
    """One investigation by its slug; SpecError with the nearest slugs where there is none."""
    paths = spec_paths(root)
    if slug not in paths:
        raise SpecError(
            f"no investigation {slug!r}",
            where=str(root / "investigations"),
            expected="one of " + (", ".join(paths) or "none: there is no investigations/*/spec.yaml yet"),
            near=nearest(slug, paths),
        )
    return load_investigation(paths[slug], catalog)


def find_experiment(investigations: Iterable[Investigation], name: str) -> tuple[Investigation, str]:
    """The investigation and experiment that `mech run --name` means; SpecError with the nearest names."""
    known = {i.run_name(e): (i, e) for i in investigations for e in i.spec.experiments}
    known |= {f"{i.slug}/{e}": (i, e) for i, e in known.values()}
    if name in known:
        return known[name]
    expected = "one of " + ", ".join(known) if known else "an investigation with experiments"
    raise SpecError(f"no experiment {name!r}", expected=expected, near=nearest(name, known))


def load_investigation(path: Path, catalog: FamilyCatalog) -> Investigation:
    """The investigation of one spec file. `spec.yaml` is named by its folder, any other file by itself."""
    path = path.resolve()
    slug = path.parent.name if path.name == "spec.yaml" else path.stem
    return Investigation(slug, path.parent, load_spec(path, catalog), path, path.parent / "report.md")


def chosen_investigations(
    root: Path, slugs: Sequence[str] | None, catalog: FamilyCatalog
) -> list[Investigation]:
    """The named investigations, all where none is named; SpecError with the nearest slugs."""
    if not slugs:
        return find_investigations(root, catalog)
    return [find_investigation(root, slug, catalog) for slug in dict.fromkeys(slugs)]


def find_root_or_here() -> Path:
    """The project's folder, or outside of one the working directory, whose .engine/ then keeps the runs."""
    try:
        return find_root()
    except EngineError:
        return Path.cwd()
