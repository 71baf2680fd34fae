"""From a name to a HookedModel: fetched when needed, loaded, and proved equal to its Hugging Face forward."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from engine.errors import ModelCorrupt, ModelError, ModelUnavailable
from engine.models import huggingface
from engine.models.anatomy import Anatomy
from engine.models.cards import availability, cached_record, find_card, model_folder, recently_out_of_reach
from engine.models.digests import damage
from engine.models.fetch import ByteProgress, fetch, renew
from engine.models.hooked import HookedModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PLAIN_PATH = (
    "anatomy.py",
    "blocks.py",
    "bridged.py",
    "forward.py",
    "hooked.py",
    "huggingface.py",
    "weight_layouts.py",
)


def load(
    name: str, *, dtype: str = "float32", device: str = "auto", progress: ByteProgress | None = None
) -> HookedModel:
    """A model by known name, hub id or path, fetched when needed, in float32 or bfloat16.

    `device` is cpu, cuda, mps or auto: what MECH_DEVICE says, else cuda where there is one, else cpu. The
    plain path and the bridge are compared with the Hugging Face forward, and the device with the CPU, at the
    first load of these bytes in this dtype on this device with these library versions; the result is kept
    beside the weights.
    ModelUnavailable where the model cannot be had or is too large; ModelError where a path or device differs.
    """
    place = _device(device)
    if dtype not in DTYPES:
        raise ModelError("no such dtype", expected=" or ".join(DTYPES), seen=repr(dtype))
    folder, record = _sound_folder(name, dtype, progress)
    model = HookedModel(
        name=name,
        hash=record["hash"],
        quantisation=record["quantisation"],
        dtype=dtype,
        device=place,
        anatomy=Anatomy.from_json(record["anatomy"]),
        config=json.loads((folder / "config.json").read_text()),
        weights=_weights(folder, DTYPES[dtype], place),
        text=_tokenizer(folder),
        folder=folder,
    )
    # Before anybody computes with it: a model whose paths differ is not handed out.
    proof = _proved(model, folder)
    return replace(model, parity=max(proof["plain"], proof["bridge"]), device_gap=proof["device"])


def _sound_folder(name: str, dtype: str, progress: ByteProgress | None) -> tuple[Path, dict[str, Any]]:
    """The model's folder and record, every file in it proved; what is damaged is made anew, once."""
    folder, record = _folder(name, dtype, progress)
    if not damage(folder, record["files"]):
        return folder, record
    renew(name, progress)
    folder, record = _folder(name, dtype, progress)
    if damaged := damage(folder, record["files"]):
        raise ModelCorrupt(
            "the cached files are damaged right after they were written",
            where=str(folder),
            seen=damaged,
            hint="look at the disk, or set MECH_CACHE to another one",
        )
    return folder, record


def _folder(name: str, dtype: str, progress: ByteProgress | None) -> tuple[Path, dict[str, Any]]:
    """The model's folder and record, fetched unless it was found out of reach minutes ago."""
    card = find_card(name)
    possible, reason = availability(name, dtype)
    if not possible:
        raise ModelUnavailable(
            f"{name} cannot be loaded: {reason}",
            hint=f"engine models get {name} tries again" if recently_out_of_reach(card) else "",
        )
    record = cached_record(card)
    if record is None:
        fetch(name, progress)
        record = cached_record(card)
    if record is None:
        raise ModelError(f"{name} changed while it was being converted", where=card.source)
    return model_folder(card), record


def _device(device: str) -> str:
    """The device that is meant; ModelError for one that torch does not see here."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        # Not mps by itself: it has no float64, in which the training of dictionaries sums.
        device = os.environ.get("MECH_DEVICE") or ("cuda" if here["cuda"] else "cpu")
    # `cuda:1` is a device of its kind.
    kind = device.partition(":")[0]
    if kind not in here:
        raise ModelError("no such device", expected=f"auto, {', '.join(here)}", seen=repr(device))
    if not here[kind]:
        there = ", ".join(name for name, seen in here.items() if seen)
        raise ModelError(f"torch sees no {kind.upper()} device here", expected=there, seen=device)
    return device


def _weights(folder: Path, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """All tensors of the folder; in their own dtype on the CPU they are mapped from the file, not read."""
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        # `to` gives back the tensor itself where nothing changes, so that a mapped one stays mapped.
        weights |= {name: tensor.to(device, dtype) for name, tensor in load_file(file).items()}
    return weights


def _tokenizer(folder: Path) -> Any:
    # The tokenizer's own threads do not survive a fork, and it warns of it in every child.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    text = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # A saved tokenizer may pad or cut by settings of its training; here both are the caller's.
    text.no_padding()
    text.no_truncation()
    return text


def _proved(model: HookedModel, folder: Path) -> Mapping[str, float]:
    """The differences recorded for this model in these circumstances, or measured where there are none."""
    file = folder / "parity.json"
    key = _circumstances(model)
    known: dict[str, dict[str, float]] = {}
    with contextlib.suppress(OSError, ValueError):  # none yet, or a damaged one: measured again
        known = json.loads(file.read_text())
    if key not in known:
        found = huggingface.parity(model)
        huggingface.require_parity(found, model)
        # Only what has passed is kept: a failure is measured again, and raised again.
        known[key] = asdict(found) | {"device": 0.0}
        if model.device != "cpu":
            # Silently wrong results are known of some devices: one forward beside the CPU's own.
            on_cpu = replace(model, device="cpu", weights=_weights(folder, DTYPES[model.dtype], "cpu"))
            gap = huggingface.device_gap(model, on_cpu)
            huggingface.require_device(gap, found.largest_logit, model)
            known[key]["device"] = gap
        with contextlib.suppress(OSError):  # a cache that is only lent: measure again next time
            # Written beside and moved, since several processes may prove the same model at once.
            scratch = file.with_suffix(f".{os.getpid()}")
            scratch.write_text(json.dumps(known, indent=2) + "\n")
            scratch.replace(file)
    return known[key]


def _circumstances(model: HookedModel) -> str:
    """What parity depends on, in words."""
    # The forward's own code belongs to what is proved: after a change of it parity is measured again.
    code = hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in PLAIN_PATH))
    packages = " ".join(f"{p} {version(p)}" for p in ("torch", "transformers", "transformer-lens"))
    return f"{model.dtype} on {model.device}, {packages}, code {code.hexdigest()[:12]}"
