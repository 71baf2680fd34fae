"""Investigations of which nothing changed since their pages were written: each costs a look at its files.

A build that only renders (budget 0) reads, plans, judges and prints an investigation to find, mostly, that
its page says what it said. Here it is left out of all that where nothing changed of

- its folder (spec, template, references, all that is published), by content, and the same of each
  investigation that its text names, whose numbers it may print;
- the commit that its folder has, which its page names;
- the engine's code, the libraries, the calibrations, the project's place, what the project says of itself;
- what is known here of the models and data that it names, asked anew each time;
- the stored runs and failures of its name, and those with a key of its runs or of its published runs;
- the files that were written for it under site/.

What other pages say of it (`PageSummary`) is kept with that. A model that is not in the engine's own list may
be a folder, so that its name means another model once something else lies there: an investigation with one is
never left out, nor is one with a given dictionary, nor one whose report cannot be printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.evidence.result import Calibration
from engine.publish.commits import last_commits
from engine.publish.overview import PageSummary
from engine.publish.replication_pages import FOLDER as REPLICATION
from engine.publish.site_settings import site_settings
from engine.publish.up_to_date import file_state
from engine.report.lint import Concern
from engine.report.report_cache import engine_hash
from engine.runs.investigation import Investigation, spec_paths
from engine.runs.library import named_slugs, written_text
from engine.runs.model_paths import KNOWN_NAMES
from engine.runs.planning.plan import Plan
from engine.runs.planning.staleness import RunInspector
from engine.runs.sources import Sources
from engine.runs.store.record import StoredRun
from engine.runs.store.store import RunStore
from engine.spec.models import CorpusChoice, PromptChoice

FILE = "summaries.json"  # in .engine/
READERS = ("pydantic", "pyyaml")  # of specs


@dataclass(frozen=True)
class Dependencies:
    """What an investigation names outside of its folder, as plain data: the same question can be asked again.

    `models` are (name, dtype), `prompts` (family, choice as JSON), `corpora` choices as JSON, `keys` of runs.
    """

    models: Sequence[Sequence[str]]
    prompts: Sequence[Sequence[str]]
    corpora: Sequence[str]
    keys: Sequence[str]


@dataclass
class SummaryCache:
    """What was written of each investigation, and of what; `calibrated` is shown on the pages too."""

    root: Path
    store: RunStore
    sources: Sources
    calibrated: Mapping[str, list[Calibration]]
    # A hash of each folder, taken before anything of it is read.
    folders: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with suppress(OSError, ValueError):
            known = json.loads((self.root / ".engine" / FILE).read_text(encoding="utf-8"))
            self.known = known if isinstance(known, dict) else {}

    @cached_property
    def unchanged(self) -> dict[str, PageSummary]:
        """What was written of the investigations of which nothing changed, by slug."""
        paths = spec_paths(self.root)
        self.folders = {slug: _folder_hash(path.parent) for slug, path in paths.items()}
        needs: dict[str, Dependencies] = {}
        for slug in paths:
            with suppress(TypeError, KeyError):
                needs[slug] = Dependencies(**self.known[slug]["needs"])
        self.commits = last_commits(self.root, "investigations")
        self.own = self._own_hashes(needs, RunInspector(self.store, self.sources))
        made_from = self._made_from(self.own)
        found: dict[str, PageSummary] = {}
        for slug, of_today in made_from.items():
            with suppress(OSError, TypeError, KeyError):
                known = self.known[slug]
                same = known["made_from"] == of_today
                if same and known["files"] == self._file_states(known["files"]):
                    concerns = [Concern(**concern) for concern in known["concerns"]]
                    found[slug] = PageSummary(**{**known["summary"], "concerns": tuple(concerns)})
        return found

    @property
    def unchanged_files(self) -> list[str]:
        """The generated files of the unchanged investigations, by path under site/."""
        return [name for slug in self.unchanged for name in self.known[slug]["files"]]

    def remember(self, plan: Plan, written: Mapping[str, PageSummary], files: Iterable[str]) -> None:
        """Keep what was `written` of a plan's investigations, and that `files` were made for it under site/.

        Of models, data and runs it counts what the plan saw, which may have changed since.
        """
        if plan.inspector is None:
            return
        names = defaultdict(list)
        for name in files:
            room, _, rest = name.partition("/")
            if room == "investigations":
                names[rest.partition("/")[0]].append(name)
            elif room == REPLICATION:
                names[rest.rpartition(".")[0]].append(name)
        needs: dict[str, Dependencies] = {}
        for slug, investigation in plan.investigations.items():
            if (found := _dependencies(plan, investigation)) and slug in self.folders:
                needs[slug] = found
        of_others = {slug: own for slug, own in self.own.items() if slug not in plan.investigations}
        self.own = of_others | self._own_hashes(needs, plan.inspector)
        made_from = self._made_from(written.keys() & needs.keys())
        for slug in made_from:
            said = asdict(written[slug])
            self.known[slug] = {
                "made_from": made_from[slug],
                "needs": asdict(needs[slug]),
                "concerns": said.pop("concerns"),
                "summary": said,
                "files": self._file_states(names[slug]),
            }
        self._save()

    def _save(self) -> None:
        with suppress(OSError):  # then the next build reads everything
            kept = {slug: known for slug, known in self.known.items() if slug in self.folders}
            folder = self.root / ".engine"
            handle, partial = tempfile.mkstemp(dir=folder, prefix=".summaries-")
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(kept, out)
            Path(partial).replace(folder / FILE)

    def _made_from(self, slugs: Iterable[str]) -> dict[str, str]:
        """A hash of all that each of these pages is made from; without pages of which not all is known.

        A text may print numbers of another investigation, if it names that.
        """
        paths = spec_paths(self.root)
        found: dict[str, str] = {}
        for slug in self.own.keys() & paths.keys() & {*slugs}:
            named = named_slugs(paths, [written_text(paths[slug])]) | {slug}
            if named <= self.own.keys():
                found[slug] = _hash([[name, self.own[name]] for name in sorted(named)])
        return found

    def _own_hashes(self, needs: Mapping[str, Dependencies], inspector: RunInspector) -> dict[str, str]:
        """A hash of all that each ledger and text are made from, as the inspector sees it, by slug."""
        runs_of = defaultdict(list)
        for run in inspector.history:
            runs_of[run.name.slug].append(run)
        data = _DataQuestions(inspector)
        found: dict[str, str] = {}
        for slug, needed in needs.items():
            folder = self.root / "investigations" / slug
            runs = {run.id: run for key in needed.keys for run in inspector.by_key.get(key, ())}
            runs |= {run.id: run for run in runs_of[slug]}
            failed = sorted(repr(item) for item in inspector.failures.items() if item[0].slug == slug)
            with suppress(EngineError, OSError, ValueError):  # what is wrong, a plan tells
                facts = [repr(inspector.facts(name, dtype)) for name, dtype in needed.models]
                answers = [data.prompts(family, choice, folder) for family, choice in needed.prompts]
                answers += [data.corpus(choice, folder) for choice in needed.corpora]
                stored = [self._stored(run) for _, run in sorted(runs.items())]
                told = [str(folder), self.folders[slug], self.commits.get(slug, "")]
                told += [facts, answers, stored, failed, asdict(needed)]
                found[slug] = _hash([self.shared, *told])
        return found

    def _stored(self, run: StoredRun) -> list[Any]:
        """A stored run and the state of its files, by which damage shows."""
        folder = self.store.path(run)
        states = [
            file_state(folder / name) if (folder / name).is_file() else None for name in sorted(run.files)
        ]
        return [*run.to_row(), states]

    def _file_states(self, names: Iterable[str]) -> dict[str, list[int] | None]:
        site = self.root / "site"
        return {name: _state_or_none(site / name) for name in sorted(names)}

    @cached_property
    def shared(self) -> str:
        """A hash of what all pages depend on."""
        calibrated = {family: [asdict(case) for case in cases] for family, cases in self.calibrated.items()}
        readers = {name: version(name) for name in READERS}
        settings = repr(site_settings(self.root))
        versions = dict(self.sources.versions())
        return _hash([engine_hash(), readers, versions, calibrated, settings, str(self.root)])


@dataclass
class _DataQuestions:
    """What is known of prompts and corpora; that of a packaged set, by its name alone, is asked once."""

    inspector: RunInspector
    asked: dict[tuple[str, Path | None], str] = field(default_factory=dict)

    def prompts(self, family: str, choice: str, folder: Path) -> str:
        chosen = PromptChoice.model_validate_json(choice)
        asked = (f"{family} {choice}", self._own_place(chosen.name, folder))
        if asked not in self.asked:
            facts = self.inspector.data.prompts(chosen, folder, family, lambda loc: str(folder))
            self.asked[asked] = repr(facts)
        return self.asked[asked]

    def corpus(self, choice: str, folder: Path) -> str:
        chosen = CorpusChoice.model_validate_json(choice)
        asked = (choice, self._own_place(chosen.name, folder))
        if asked not in self.asked:
            self.asked[asked] = repr(self.inspector.data.corpus(chosen, folder, str(folder)))
        return self.asked[asked]

    def _own_place(self, name: str | None, folder: Path) -> Path | None:
        """The folder that a path is relative to; None for what has the same name everywhere."""
        is_path = name is not None and ("." in name or "/" in name or (folder / name).exists())
        return folder if is_path else None


def _state_or_none(path: Path) -> list[int] | None:
    return file_state(path) if path.is_file() else None


def _dependencies(plan: Plan, investigation: Investigation) -> Dependencies | None:
    """What an investigation names outside of its folder; None where a name may mean something else later."""
    runs = [run.examined for run in plan.of(investigation.slug)]
    models = {(run.name.model, run.experiment.dtype) for run in runs}
    models |= {(name, run.experiment.dtype) for run in runs for name in run.inputs.second}
    models |= {(claim.about, "float32") for claim in investigation.spec.claims.values() if claim.about}
    seen = plan.inspector.published.get(investigation.slug) if plan.inspector else None
    if seen is None:
        return None
    published = seen.runs
    named = {name for name, _ in models} | {model for _, model in published} | set(investigation.spec.models)
    # A dictionary is a folder, too.
    if not named <= KNOWN_NAMES or any(run.inputs.coders for run in runs):
        return None
    prompts = {
        (run.family, run.experiment.prompts.model_dump_json()) for run in runs if run.experiment.prompts
    }
    corpora = {run.experiment.corpus.model_dump_json() for run in runs if run.experiment.corpus}
    keys = {run.inputs.key for run in runs} | {run.provenance.key for run in published.values()}
    return Dependencies(
        models=[list(pair) for pair in sorted(models)],
        prompts=[list(pair) for pair in sorted(prompts)],
        corpora=sorted(corpora),
        keys=sorted(key for key in keys if key),
    )


def _folder_hash(folder: Path) -> str:
    """A hash over the content of every file in a folder, and over where its links lead."""
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted([*names, *(name for name in folders if Path(place, name).is_symlink())]):
            path = Path(place, name)
            with suppress(OSError):  # an editor's own file, gone again
                content = str(path.readlink()).encode() if path.is_symlink() else b""
                # Of what a link leads to, only a file that is read as one of this folder can change a page.
                content += path.read_bytes() if path.is_file() else b""
                digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=repr).encode()).hexdigest()
