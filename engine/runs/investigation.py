"""An investigation on disk: its folder, spec and template, and where the project begins."""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import EngineError, SpecError, nearest
from engine.runs.flat_specs import FOLDER, FlatSpecs, flat_specs, folder_with_experiments
from engine.runs.model_paths import canonical_folder, canonical_model
from engine.spec.document import document_of
from engine.spec.load import load_spec, spec_of, written_at
from engine.spec.models import Experiment, Spec
from engine.spec.points import FamilyCatalog, coder_fields, second_model_field
from engine.spec.repository_files import CONTENT, refuse_links_out

NOTEBOOK = "notebook"
"""The slug of what was given in Python."""
IN_PYTHON = "<spec>"
FOLDER_NAME = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Investigation:
    """A question: `investigations/<slug>/` with `spec.yaml`, `report.md` and `published/`."""

    slug: str
    folder: Path
    spec: Spec
    spec_path: Path
    template_path: Path
    typed: str = ""  # what a person types to measure it, where that is not `mech run`
    call: str = ""  # the call that measures it, where it was given in Python
    # How the spec spells a model or dictionary, by its one name.
    spellings: Mapping[str, str] = field(default_factory=dict)

    @property
    def published_folder(self) -> Path:
        return self.folder / "published"

    def command(self, experiment: str, model: str) -> str:
        """What a person types to measure this experiment again."""
        if self.call:
            return self.call
        if self.typed:
            return shlex.join([*shlex.split(self.typed), "--model", model])
        # A file below experiments/ is found by name, from wherever in the project that is typed.
        if self.spec_path.name != "spec.yaml" and FOLDER not in self.spec_path.parts[:-1]:
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
    raise _nowhere("a folder with mkdocs.yml and investigations/", here)


def _nowhere(expected: str, here: Path | None = None) -> EngineError:
    return EngineError(
        "this is not inside a project",
        where=str(here or Path.cwd()),
        expected=f"{expected}, here or above",
        hint="cd into the clone of the project",
    )


def spec_paths(root: Path) -> dict[str, Path]:
    """Every `investigations/*/spec.yaml` by slug, in alphabetical order; none is read.

    SpecError where a link in the project's content leads out of it, or a slug is none.
    """
    for name in CONTENT:
        if (root / name).exists():
            refuse_links_out(root / name, root, SpecError)
    return {_slug(p.parent): p for p in sorted((root / "investigations").glob("*/spec.yaml"))}


def _slug(folder: Path) -> str:
    """The name of an investigation's folder, which is part of addresses and of file names."""
    if not FOLDER_NAME.fullmatch(folder.name):
        raise SpecError(
            "this folder's name is no slug",
            where=str(folder.parent),
            expected="letters, digits, dashes, dots and underscores, as in fact-recall",
            seen=repr(folder.name),
        )
    return folder.name


def find_investigations(
    root: Path, catalog: FamilyCatalog, without: Container[str] = ()
) -> list[Investigation]:
    """Every investigation of the project, `without` some; SpecError for the first spec that is impossible."""
    paths = spec_paths(root)
    return [load_investigation(path, catalog) for slug, path in paths.items() if slug not in without]


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
    # By slug and experiment as well, also where the spec gives a name.
    known |= {f"{i.slug}/{e}": (i, e) for i, e in known.values()}
    if name in known:
        return known[name]
    expected = "one of " + ", ".join(known) if known else "an investigation with experiments"
    raise SpecError(f"no experiment {name!r}", expected=expected, near=nearest(name, known))


def find_named(name: str, catalog: FamilyCatalog) -> tuple[Path, Investigation, str]:
    """The root, investigation and experiment that `mech run --name` means, wherever the name is given.

    Names are those of the project's investigations and of the flat specs in the nearest `experiments/`,
    which needs no project around it. SpecError with the nearest names where there is none, and with every
    place where there are several.
    """
    project = project_or_none()
    beside = folder_with_experiments()
    if project is None and beside is None:
        raise _nowhere("a folder with mkdocs.yml and investigations/, or with specs in experiments/")
    found = flat_specs(beside) if beside else FlatSpecs()
    investigations = find_investigations(project, catalog) if project else []
    places = found.names.get(name, [])
    try:
        investigation, experiment = find_experiment(investigations, name)
    except SpecError as error:
        if not places:
            raise _no_experiment(name, investigations, found) from error
    else:
        # What investigations call their experiments has to be found as before.
        if not places:
            return project or Path.cwd(), investigation, experiment
        places = [(investigation.spec_path, experiment), *places]
    if len(places) > 1:
        raise SpecError(
            f"{len(places)} experiments are called {name!r}",
            expected="a name of its own, or mech run --spec FILE",
            seen=", ".join(str(path) for path, _ in places),
        )
    path, experiment = places[0]
    return project or beside or Path.cwd(), load_investigation(path, catalog), experiment


def _no_experiment(name: str, investigations: Iterable[Investigation], found: FlatSpecs) -> SpecError:
    known = {i.run_name(e) for i in investigations for e in i.spec.experiments} | found.names.keys()
    unread = [error.where or error.problem for error in found.unread]
    return SpecError(
        f"no experiment {name!r}",
        expected="one of " + ", ".join(sorted(known)) if known else "a spec with an experiment of that name",
        near=nearest(name, known),
        hint=f"these files are no YAML: {', '.join(unread)}" if unread else "",
    )


def load_investigation(path: Path, catalog: FamilyCatalog) -> Investigation:
    """The investigation of one spec file. `spec.yaml` is named by its folder, any other file by itself.

    Its models have their one name, however the spec spells them (`model_paths`); SpecError where it names one
    twice by two spellings.
    """
    path = path.resolve()
    slug = path.parent.name if path.name == "spec.yaml" else path.stem
    return _named(load_spec(path, catalog), slug, path, catalog)


def investigation_of(values: Mapping[str, Any], catalog: FamilyCatalog) -> Investigation:
    """The investigation that a dictionary with the keys of a spec is; its files lie in the working directory.

    SpecError as for a file, with the path of the key in place of the line.
    """
    path = Path.cwd() / IN_PYTHON
    investigation = _named(spec_of(document_of(values, IN_PYTHON), catalog), NOTEBOOK, path, catalog)
    return replace(investigation, call=f"engine.run({dict(values)!r})")


def _named(written: Spec, slug: str, path: Path, catalog: FamilyCatalog) -> Investigation:
    """The investigation of a spec, each of its models under its one name."""
    folder = path.parent
    root = project_or_none()
    spellings = {canonical_model(model, folder, root): model for model in written.models}
    # Two spellings of one model have become one entry.
    if len(spellings) < len(written.models):
        raise _named_twice(written.models, path, root)
    spellings |= _coder_spellings(written, folder, root, catalog)
    spec = _with_canonical_models(written, folder, root, catalog)
    return Investigation(slug, folder, spec, path, folder / "report.md", spellings=spellings)


def canonical_models(typed: Iterable[str], folder: Path | None = None) -> list[str]:
    """Models as a person types them, by the names that specs have them under.

    Paths are taken relative to `folder`, by default the working directory, then to the project's folder.
    """
    return [canonical_model(model, folder or Path.cwd(), project_or_none()) for model in typed]


def chosen_investigations(
    root: Path, slugs: Sequence[str] | None, catalog: FamilyCatalog
) -> list[Investigation]:
    """The named investigations, all where none is named; SpecError with the nearest slugs."""
    if not slugs:
        return find_investigations(root, catalog)
    return [find_investigation(root, slug, catalog) for slug in dict.fromkeys(slugs)]


def find_root_or_here() -> Path:
    """The folder whose .engine/ keeps the runs: the project's, else the nearest one with specs in
    `experiments/`, else the working directory."""
    return project_or_none() or folder_with_experiments() or Path.cwd()


def project_or_none() -> Path | None:
    """The folder of the project that the working directory is in, if it is in one."""
    try:
        return find_root()
    except EngineError:
        return None


def _coder_spellings(spec: Spec, folder: Path, root: Path | None, catalog: FamilyCatalog) -> dict[str, str]:
    """How a spec spells the path of each dictionary that it names, by its one name."""
    written = [
        value
        for experiment in spec.experiments.values()
        for field in coder_fields(experiment.family, catalog)
        for value in (experiment.parameters.get(field), *experiment.sweep.get(field, []))
    ]
    return {canonical_folder(path, folder, root): path for path in written if isinstance(path, str)}


def _with_canonical_models(spec: Spec, folder: Path, root: Path | None, catalog: FamilyCatalog) -> Spec:
    """The spec with each model by its one name, also where an experiment or a claim names it; and with each
    dictionary by its own."""

    def named(model: str) -> str:
        return canonical_model(model, folder, root)

    def renamed(experiment: Experiment) -> Experiment:
        models = experiment.models and [named(model) for model in experiment.models]
        parameters = dict(experiment.parameters)
        sweep = dict(experiment.sweep)
        second = second_model_field(experiment.family, catalog)
        if isinstance(parameters.get(second), str):
            parameters[second] = named(parameters[second])
        if second in sweep:
            sweep[second] = [named(str(model)) for model in sweep[second]]
        for coder in coder_fields(experiment.family, catalog):
            if isinstance(parameters.get(coder), str):
                parameters[coder] = canonical_folder(parameters[coder], folder, root)
            if coder in sweep:
                sweep[coder] = [canonical_folder(str(path), folder, root) for path in sweep[coder]]
        return experiment.model_copy(update={"models": models, "parameters": parameters, "sweep": sweep})

    experiments = {name: renamed(experiment) for name, experiment in spec.experiments.items()}
    models = [named(model) for model in spec.models]
    claims = {
        claim_id: claim.model_copy(update={"about": claim.about and named(claim.about)})
        for claim_id, claim in spec.claims.items()
    }
    return spec.model_copy(update={"models": models, "experiments": experiments, "claims": claims})


def _named_twice(models: Sequence[str], path: Path, root: Path | None) -> SpecError:
    names = [canonical_model(model, path.parent, root) for model in models]
    second = next(index for index, name in enumerate(names) if name in names[:index])
    first = models[names.index(names[second])]
    where = written_at(path, models[second], [("models", second)])
    return SpecError(
        f"{models[second]!r} is the model {first!r} once more", where=where, expected="each once"
    )
