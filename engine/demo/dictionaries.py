"""The dictionaries that a panel may show: packaged ones, a project's SAELens folders, those of the run store.

A reader chooses among these by name and can name no other folder. What is read of the machine stays here: a
refusal names the dictionary and no path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.packaged_coders import (
    CODES,
    packaged_coder_card,
    packaged_coder_folder,
    packaged_coder_names,
)
from engine.demo.live_model import LiveModel
from engine.demo.panel import TellProgress
from engine.errors import DataError, DemoError, EngineError, nearest
from engine.families.sae_evaluation import active_latents
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.corpus_codes import (
    READ,
    READ_TOKENS,
    CorpusCodes,
    CorpusRows,
    corpus_codes,
    read_codes,
    read_corpus,
)
from engine.lab.sparse.imported_coder import imported_coder
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.saelens_config import SaelensConfig, folder_hash, plain_site, read_config, same_model
from engine.runs.coder_folders import FAMILY, dictionaries
from engine.runs.investigation import find_root_or_here
from engine.runs.store.store import FOLDER, open_store

MOST_LATENTS = 32_768
MOST_RUNS = 50
"""Of the run store, the latest: a list that is longer is of no help."""
HOW_TO_MAKE = (
    "mech run --name sae-seed-stability/mid_narrow trains others, engine sae import DIR takes one in that "
    "was trained elsewhere; both are offered here after a new start"
)


@dataclass(frozen=True)
class DictionarySource:
    """A dictionary that is offered. `name` is its value in an address and, of a folder, in a spec.

    `model` is empty where a folder names none; `run` is set for one of the run store. What has the same
    `training` differs in the seed alone.
    """

    name: str
    label: str
    model: str
    hook_site: str
    folder: Path | None = None
    run: int | None = None
    training: str = ""

    @property
    def is_packaged(self) -> bool:
        return self.name in packaged_coder_names()


@dataclass(frozen=True, eq=False)
class LiveDictionary:
    """A dictionary with what it does on the text that everything of the kind is read on."""

    source: DictionarySource
    coder: Coder
    corpus: CorpusCodes


def dictionary_sources(model: str) -> list[DictionarySource]:
    """What can be looked at on a model, packaged ones first; a folder that names no model is offered too."""
    found = [*packaged_sources(), *folder_sources(), *run_sources()]
    return [source for source in found if not source.model or same_model(source.model, model)]


def packaged_sources() -> Iterator[DictionarySource]:
    """Those that come with the engine."""
    for name in packaged_coder_names():
        folder = packaged_coder_folder(name)
        if folder is not None:
            yield _of_folder(name, read_config(folder), "packaged", training="packaged")


def folder_sources() -> Iterator[DictionarySource]:
    """SAELens folders of this project, as `engine sae` lists them; one that cannot be read is left out."""
    root = find_root_or_here()
    for folder, config in dictionaries(root):
        if isinstance(config, SaelensConfig):
            yield _of_folder(f"./{folder.relative_to(root).as_posix()}", config, "imported")


def _of_folder(name: str, config: SaelensConfig, origin: str, training: str = "") -> DictionarySource:
    site = plain_site(config.hook_site)
    label = f"{name}: {config.n_features:,} latents at {site or 'a site that it does not name'}, {origin}"
    return DictionarySource(name, label, config.model, site, config.folder, training=training)


def run_sources() -> Iterator[DictionarySource]:
    """The dictionaries that runs of this project trained, the latest first."""
    root = find_root_or_here()
    # Opening a store makes one: looking must leave nothing behind.
    if not (root / FOLDER / "runs.db").is_file():
        return
    with open_store(root) as store:
        trained = [run for run in store.runs() if run.record.family == FAMILY and not run.damage]
    for run in sorted(trained, key=lambda run: -run.id)[:MOST_RUNS]:
        site = str(run.record.provenance.get("hook_site") or run.record.inputs.experiment["hook_site"])
        width = run.record.inputs.experiment["parameters"]["n_features"]
        label = f"run {run.id}: {run.name.slug}/{run.name.label}, {width:,} latents at {site}"
        training = f"{run.name.slug}/{run.name.experiment}"
        yield DictionarySource(f"run {run.id}", label, run.name.model, site, run=run.id, training=training)


def find_source(name: str, model: str) -> DictionarySource:
    """The dictionary of a name, the first where it is empty; DemoError where it is not offered on a model."""
    fitting = {source.name: source for source in dictionary_sources(model)}
    if not fitting:
        raise DemoError(f"there is no dictionary of {model} here yet", seen=_short(name), hint=HOW_TO_MAKE)
    if not name:
        return next(iter(fitting.values()))
    if name in fitting:
        return fitting[name]
    others = (*packaged_sources(), *folder_sources(), *run_sources())
    strange = next((source for source in others if source.name == name), None)
    if strange is not None:
        problem = f"the dictionary {name} is of another model"
        raise DemoError(problem, expected=model, seen=strange.model, near=[*fitting][:3], hint=HOW_TO_MAKE)
    raise DemoError(
        f"no dictionary {_short(name)!r} is offered here",
        expected=", ".join([*fitting][:8]),
        near=nearest(name[:200], fitting),
        hint=HOW_TO_MAKE,
    )


def other_seed(source: DictionarySource, model: str) -> DictionarySource | None:
    """Another seed of the same training, where one is offered."""
    if not source.training:
        return None
    alike = [s for s in dictionary_sources(model) if s.training == source.training and s.name != source.name]
    return alike[0] if alike else None


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."


def live_dictionary(live: LiveModel, name: str, progress: TellProgress) -> LiveDictionary:
    """A dictionary with its codes on the packaged corpus, kept for later requests.

    DemoError where it is not offered, cannot be read, or does not fit the model.
    """
    source = find_source(name, live.name)
    try:
        key = folder_hash(source.folder) if source.folder else source.name
        return live.shared(
            ("dictionary", live.model.hash, source.name, key), lambda: _made(live, source, progress)
        )
    except DemoError:
        raise
    except (EngineError, OSError) as error:
        raise _without_paths(source, error) from error


def _made(live: LiveModel, source: DictionarySource, progress: TellProgress) -> LiveDictionary:
    coder, k = _coder(live, source)
    if coder.n_features > MOST_LATENTS:
        raise DemoError(
            f"{source.name} is too wide to be shown here",
            expected=f"at most {MOST_LATENTS:,} latents",
            seen=f"{coder.n_features:,}",
        )
    return LiveDictionary(source, coder, _codes(live, source, coder, k, progress))


def _coder(live: LiveModel, source: DictionarySource) -> tuple[Coder, int | None]:
    """The weights, and the k that controls are given, None where it is to be measured."""
    if source.run is not None:
        with open_store(find_root_or_here()) as store:
            run = store.run(source.run)
            trained_on = run.record.provenance["model_hash"]
            coder = coder_of(store.load(run).arrays, source.name)
        if trained_on != live.model.hash:
            raise DataError(
                "this dictionary is of other weights of this name",
                expected=live.model.hash[:12],
                seen=str(trained_on)[:12],
            )
        return coder, coder.k
    if not source.hook_site:
        raise DataError(
            "this dictionary does not name its hook site",
            hint="engine sae import DIR --hook-site SITE says which",
        )
    lab = live.lab(coders={source.name: source.folder})
    coder, config = imported_coder(lab, source.name, source.hook_site)
    return coder, config.k


def _codes(
    live: LiveModel, source: DictionarySource, coder: Coder, k: int | None, progress: TellProgress
) -> CorpusCodes:
    """What it does on the corpus: as it was shipped where it was measured on this model, else computed."""
    if source.is_packaged and source.folder and packaged_coder_card()["model_sha256"] == live.model.hash:
        return read_codes(source.folder / CODES)
    rows = corpus_rows(live, source.hook_site, progress)
    progress(0.7, f"what {source.name} does on {len(rows.held.ids):,} tokens")
    return corpus_codes(rows, coder, k or active_latents(coder, rows.fitted, 0))


def corpus_rows(live: LiveModel, site: str, progress: TellProgress) -> CorpusRows:
    """The packaged corpus as the model reads it at a site, kept for other dictionaries of the site."""

    def read() -> CorpusRows:
        progress(0.1, f"reading {READ_TOKENS:,} tokens of the packaged corpus, once for this site")
        corpus = live.corpus(tokens=READ_TOKENS)
        return read_corpus(
            live.model, corpus, site, READ, progress=lambda done, words="": progress(0.1 + 0.55 * done, words)
        )

    return live.shared(("corpus rows", live.model.hash, site), read)


def _without_paths(source: DictionarySource, error: Exception) -> DemoError:
    """The same refusal by the dictionary's name: where files lie is nothing for a reader."""
    if not isinstance(error, EngineError):
        return DemoError(f"{source.name} cannot be read", seen=type(error).__name__)
    hint = "" if source.folder and str(source.folder) in error.hint else error.hint
    return DemoError(
        error.problem, where=source.name, expected=error.expected, seen=error.seen, near=error.near, hint=hint
    )
