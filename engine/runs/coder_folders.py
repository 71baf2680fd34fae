"""Dictionaries as folders: what a run trained leaves a project, what SAELens wrote comes into it.

Both write a folder beside its place and rename it, so that it is there whole or not at all.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from engine.errors import DataError, EngineError, ModelUnknown, SpecError
from engine.evidence.printing import interval_text
from engine.evidence.result import Result
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.run_arrays import coder_of
from engine.lab.sparse.saelens import read_saelens, write_saelens
from engine.lab.sparse.saelens_config import (
    CONFIG,
    IMPORT,
    SPARSITY,
    WEIGHTS,
    SaelensConfig,
    folder_hash,
    plain_site,
    read_config,
)
from engine.models.cards import shape_of
from engine.models.sites import site_of, width
from engine.runs.investigation import project_or_none
from engine.runs.model_paths import located
from engine.runs.store.record import StoredRun
from engine.spec.sites import validate_site

FAMILY = "polysemanticity_sae"
FOLDER = "dictionaries"
"""Of a project: where imported dictionaries lie."""
README = "README.md"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
NEVER = 1e-10
"""SAELens adds it to a firing rate before it takes the logarithm, so that a dead latent has one."""
SHOWN = ("explained_variance", "explained_variance_per_token", "l0", "frac_alive", "ce_loss_score", "kl")


# export


def export_run(run: StoredRun, result: Result, folder: Path) -> None:
    """Write the dictionary that a run trained as a SAELens folder, with a README saying where it is from.

    EngineError where the run trained none, or where the folder has something in it already.
    """
    if run.record.family != FAMILY:
        raise EngineError(
            f"run {run.id} trained no dictionary",
            expected=f"a run of {FAMILY}, as engine runs lists them",
            seen=f"{run.name}, of the family {run.record.family}",
        )
    coder = coder_of(result.arrays, f"run {run.id}")
    asked = run.record.inputs.experiment
    with _made_whole(folder) as place:
        write_saelens(
            coder,
            place,
            model_name=run.name.model,
            hook_name=asked["hook_site"],
            context_size=asked["parameters"]["context_tokens"],
            dataset_path=asked["corpus"]["name"],
            training_tokens=int(result.measurements["tokens_trained"].value),
            # Not a field of SAELens's own for a JumpReLU, as which a BatchTopK is saved: controls need it.
            k=coder.k,
            engine={
                "run": run.id,
                "experiment": f"{run.name.slug}/{run.name.label}",
                "key": run.key,
                "spec_hash": run.record.provenance["spec_hash"],
                "model_hash": run.record.provenance["model_hash"],
                "corpus": asked["corpus"],
                "seed": asked["parameters"]["seed"],
                "date": run.date,
            },
        )
        # As SAELens keeps it: the logarithm to base 10 of how often each latent fires.
        save_file({"sparsity": np.log10(result.arrays["firing_rate"] + NEVER)}, place / SPARSITY)
        (place / README).write_text(_readme(run, result, coder), encoding="utf-8")


def _readme(run: StoredRun, result: Result, coder: Coder) -> str:
    """Which run the folder is from, what it was measured to be worth, and how to load it."""
    asked = run.record.inputs.experiment
    provenance = run.record.provenance
    parameters = asked["parameters"]
    corpus = asked["corpus"]
    tokens = f"{int(result.measurements['tokens_trained'].value):,} tokens"
    facts = {
        "experiment": f"{run.name.slug}/{run.name.label}",
        "model": f"{run.name.model}, hash {provenance['model_hash'][:12]}",
        "hook site": asked["hook_site"],
        "architecture": f"{coder.architecture}, {coder.n_features:,} latents, k = {coder.k}",
        "corpus": f"{corpus['name']}, {tokens}, contexts of {parameters['context_tokens']}",
        "left out": _left_out(parameters["max_norm"]),
        "seed": parameters["seed"],
        "run": f"{run.id}, {run.date}, key {run.key[:12]}",
        "spec hash": provenance["spec_hash"],
        "measured again by": f"`{provenance['command']}`",
    }
    failed = [check.name for check in result.failed_checks]
    warning = [f"**The numbers of this run are withheld: failed check {', '.join(failed)}.**", ""]
    rows = [
        f"| {name} | {_number(result, name)} | {_number(result, f'random_{name}')} "
        f"| {_number(result, f'pca_{name}')} |"
        for name in SHOWN
    ]
    measured = [
        "On held-out contexts, beside random directions and principal components with the same k:",
        "",
        "| number | this dictionary | random directions | principal components |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
    ]
    saved_as = ["SAELens has a BatchTopK with one threshold for inference as `jumprelu`.", ""]
    return "\n".join(
        [
            f"# A sparse autoencoder of {run.name.model} at {asked['hook_site']}",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {name} | {fact} |" for name, fact in facts.items()),
            "",
            *(warning if failed else measured),
            *(saved_as if coder.architecture == "batchtopk" else []),
            "Loaded with SAELens 6:",
            "",
            "```python",
            "from sae_lens import SAE",
            "",
            'sae = SAE.load_from_disk("this folder")',
            "```",
            "",
            "And here: `engine sae import FOLDER`, or `coder: FOLDER` in a spec.",
            "",
        ]
    )


def _left_out(max_norm: float | None) -> str:
    bos = "the BOS's own activation"
    return bos if max_norm is None else f"{bos}; tokens longer than {max_norm:g} times the median norm"


def _number(result: Result, name: str) -> str:
    found = result.measurements.get(name)
    return interval_text(found) if found else ""


# import


@dataclass(frozen=True)
class ImportedFolder:
    """A dictionary that was read whole: its configuration, its hash, and `facts` for a person, by name.

    `hook_site` is where it is to be read, empty where nothing says so; `notes` say what could not be checked.
    """

    config: SaelensConfig
    hash: str
    hook_site: str
    facts: Mapping[str, str]
    notes: tuple[str, ...]


def examined(folder: Path, model: str | None, hook_site: str | None) -> ImportedFolder:
    """A SAELens folder read whole, and held against the model and hook site that it is to be read on.

    Where these are None they are the folder's own. DataError naming the file for whatever is broken or does
    not fit; SpecError for a hook site that the engine does not read, ModelUnknown for a model of no source.
    """
    coder, config = read_saelens(folder)
    if hook_site and "%" in validate_site(hook_site):
        raise SpecError(
            "a dictionary is of one layer", where="--hook-site", expected="its number", seen=hook_site
        )
    site = hook_site or plain_site(config.hook_site)
    notes = list(_unchecked(coder, config, model, site))
    return ImportedFolder(config, folder_hash(folder), site, _facts(coder, config), tuple(notes))


def _unchecked(coder: Coder, config: SaelensConfig, model: str | None, site: str) -> Iterator[str]:
    """What cannot be checked of model and site; DataError where they are known and do not fit."""
    name = model or config.model
    if not name:
        yield "the folder names no model: --model NAME says which, and a run then checks it"
    if not site:
        yield "the folder names no hook site: --hook-site SITE says which, and a run then checks it"
    try:
        shape = shape_of(located(name, project_or_none())) if name else None
    except ModelUnknown:
        # A model that a person names has to be one; what a folder says may be in anybody's words.
        if model:
            raise
        yield f"no model here is called {name}: where the project has it under another name, --model NAME"
        return
    if shape is None or not site:
        return
    # SpecError for a layer that the model has not.
    wanted = width(site_of(validate_site(site), shape.n_layers).kind, shape)
    if coder.d != wanted:
        raise DataError(
            "this dictionary is of another width",
            where=str(config.folder / CONFIG),
            expected=f"d_in: {wanted}, as {site} of {name}",
            seen=f"d_in: {coder.d}",
        )


def _facts(coder: Coder, config: SaelensConfig) -> dict[str, str]:
    """What a dictionary is, for a person."""
    fields = config.fields
    metadata = fields["metadata"]
    rows = coder.W_dec.norm(dim=1)
    columns = coder.W_enc.norm(dim=0)
    dead = int(((rows == 0) | (columns == 0)).sum())
    norms = f"{rows.min():.3g} to {rows.max():.3g}, median {rows.median():.3g}"
    told = {
        "architecture": config.architecture,
        "width": f"{config.d:,}",
        "latents": f"{config.n_features:,}",
        "k": str(config.k or ""),
        "model": config.model or "not said",
        "hook site": config.hook_site or "not said",
        "made for": config.made_for,
        "zero rows": f"{dead:,} latents have no decoder or encoder direction",
        "decoder norms": norms,
        "trained on": str(metadata.get("dataset_path") or fields.get("dataset_path") or ""),
        "context": str(metadata.get("context_size") or fields.get("context_size") or ""),
        "SAELens": str(metadata.get("sae_lens_version") or fields.get("sae_lens_version") or ""),
    }
    return {name: text for name, text in told.items() if text}


def take_in(
    source: Path, root: Path, name: str | None, model: str | None, hook_site: str | None, date: str
) -> Path:
    """Copy a folder that was examined to `dictionaries/NAME` of a project, with what it is to be read on.

    A folder that is there already has its import.json written anew where its files are the same; EngineError
    where they are not, or where the name is none.
    """
    name = name or source.resolve().name
    if not NAME.fullmatch(name):
        raise EngineError(
            f"{name!r} is no name for a folder", where="--name", expected="letters, digits, - _ and ."
        )
    folder = root / FOLDER / name
    digest = folder_hash(source)
    if not folder.exists():
        with _made_whole(folder) as place:
            for file in (CONFIG, WEIGHTS, SPARSITY, README, IMPORT):
                if (source / file).is_file():
                    shutil.copy2(source / file, place / file)
    elif folder_hash(folder) != digest:
        raise EngineError(
            "another dictionary has this name",
            where=str(folder),
            expected=f"the files of {source}, or a name that is free",
            seen=", ".join(sorted(p.name for p in folder.parent.iterdir() if not p.name.startswith("."))),
            hint="--name ANOTHER",
        )
    before = json.loads((folder / IMPORT).read_text()) if (folder / IMPORT).is_file() else {}
    said = {"model": model, "hook_site": hook_site}
    record = before | {key: value for key, value in said.items() if value}
    record |= {"sha256": digest, "imported": before.get("imported", date)}
    (folder / IMPORT).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return folder


def dictionaries(root: Path) -> list[tuple[Path, SaelensConfig | DataError]]:
    """Every dictionary of a project by folder, or why one cannot be read."""
    found: list[tuple[Path, SaelensConfig | DataError]] = []
    for file in sorted((root / FOLDER).glob(f"*/{CONFIG}")):
        try:
            found.append((file.parent, read_config(file.parent)))
        except DataError as error:
            found.append((file.parent, error))
    return found


@contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A place to write that becomes `folder` at the end; EngineError where that is taken or cannot be."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        seen = "a file" if folder.is_file() else ", ".join(sorted(p.name for p in folder.iterdir())[:5])
        raise EngineError(
            "there is something already", where=str(folder), expected="a new or empty folder", seen=seen
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as scratch:
            place = Path(scratch) / folder.name
            place.mkdir()
            yield place
            # Onto an empty folder as well; never onto one with files, which rename refuses.
            place.rename(folder)
    except OSError as error:
        raise EngineError("this cannot be written", where=str(folder), seen=str(error)) from None
