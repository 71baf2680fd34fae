"""Coders as SAELens 6 folders (cfg.json, sae_weights.safetensors), for its users to take on, and back.

Read are `topk` (with or without its rescaling by decoder norms), `jumprelu` and `standard` (ReLU), with or
without the decoder's bias taken from the input; older configurations that call Top-K an activation function
too. Written are Top-K as `topk` and BatchTopK as `jumprelu` with its one threshold, as SAELens itself does.
What can be folded is: a coder that was read has scale 1, subtracts b_dec, and gives the codes that SAELens
gives (tests/bench/saelens_parity.py).

Source: SAELens 6, `sae_lens/saes/` (MIT), read for the names and the meaning of the fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import DataError, nearest
from engine.lab.sparse.coder import Coder, Kind

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
FORMAT_VERSION = "6.0.0"  # of SAELens, whose readers take a configuration without one to be older
KIND_OF: dict[str, Kind] = {"topk": "topk", "jumprelu": "jumprelu", "standard": "relu"}
ARCHITECTURE_OF: dict[Kind, str] = {
    "topk": "topk",
    "batchtopk": "jumprelu",
    "jumprelu": "jumprelu",
    "relu": "standard",
}


def write_saelens(
    coder: Coder, folder: Path, *, model_name: str, hook_name: str, **metadata: Any
) -> tuple[Path, Path]:
    """Write a coder, folded, as a SAELens folder; the paths of its configuration and weights.

    `metadata` are further fields such as context_size, prepend_bos and dataset_path. Raises DataError where
    the folder cannot be written.
    """
    coder = coder.folded()
    config: dict[str, Any] = {
        "architecture": ARCHITECTURE_OF[coder.kind],
        "d_in": coder.d,
        "d_sae": coder.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if hook_name.endswith("hook_z") else "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, "model_name": model_name, "hook_name": hook_name}
        | metadata,
    }
    if coder.kind == "topk":
        config |= {"k": coder.k, "rescale_acts_by_decoder_norm": False}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(_tensors(coder), folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        problem = f"the coder cannot be written: {error.strerror}"
        raise DataError(problem, where=str(folder), expected="a folder that can be written") from None
    return folder / CONFIG, folder / WEIGHTS


def _tensors(coder: Coder) -> dict[str, Tensor]:
    weights = {
        name: getattr(coder, name).float().contiguous() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    }
    if ARCHITECTURE_OF[coder.kind] == "jumprelu":
        bound = 0.0 if coder.threshold is None else coder.threshold
        weights["threshold"] = (torch.zeros_like(coder.b_enc) + bound).float()
    return weights


def read_saelens(folder: Path) -> tuple[Coder, dict[str, Any]]:
    """The coder in a SAELens folder, in fp32, and the folder's configuration.

    Raises DataError naming the file for a folder that is not there, broken, or of another architecture.
    """
    config = _config(folder / CONFIG)
    kind = _kind(config, str(folder / CONFIG))
    weights = _weights(folder / WEIGHTS, config, kind)
    coder = Coder(
        weights["W_enc"],
        weights["b_enc"],
        weights["W_dec"],
        weights["b_dec"],
        kind,
        _k(config, str(folder / CONFIG)) if kind == "topk" else 0,
        weights.get("threshold"),
    )
    return _folded(coder, config), config


def _config(path: Path) -> dict[str, Any]:
    """The configuration in the words of SAELens 6."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        seen = ", ".join(beside[:8]) or "no such folder"
        raise DataError(
            "this is no SAELens folder", where=str(path), expected=f"{CONFIG} and {WEIGHTS}", seen=seen
        ) from None
    except (OSError, ValueError) as error:
        raise DataError("this configuration cannot be read", where=str(path), seen=str(error)) from None
    if not isinstance(config, dict):
        raise DataError("this is no configuration", where=str(path), expected="a JSON object", seen="a list")
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation == "topk":
        config["architecture"] = "topk"
        config.setdefault("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    elif activation != "relu":
        config["architecture"] = f"{config.get('architecture', 'standard')} with {activation}"
    return {"architecture": "standard"} | config


def _kind(config: Mapping[str, Any], where: str) -> Kind:
    architecture = str(config["architecture"])
    if architecture not in KIND_OF:
        raise DataError(
            f"an SAELens folder of the architecture {architecture!r}",
            where=where,
            expected="one of " + ", ".join(KIND_OF),
            seen=architecture,
            near=nearest(architecture, KIND_OF),
        )
    normalisation = config.get("normalize_activations") or "none"
    if normalisation != "none" or config.get("finetuning_scaling_factor"):
        raise DataError(
            "this coder rescales its activations at run time",
            where=where,
            expected="normalize_activations: none, and no finetuning_scaling_factor",
            seen=str(normalisation),
            hint="fold the scaling into the weights with SAELens and save it again",
        )
    return KIND_OF[architecture]


def _k(config: Mapping[str, Any], where: str) -> int:
    k = config.get("k")
    if isinstance(k, bool) or not isinstance(k, int):
        raise DataError("a Top-K coder says its k", where=where, expected="a whole number", seen=repr(k))
    return k


def _weights(path: Path, config: Mapping[str, Any], kind: Kind) -> dict[str, Tensor]:
    """The tensors in fp32, their names and shapes checked against the configuration."""
    try:
        found = {name: tensor.float() for name, tensor in load_file(path).items()}
    except FileNotFoundError:
        raise DataError("the weights are missing", where=str(path), expected=WEIGHTS) from None
    except (OSError, SafetensorError) as error:
        raise DataError("these weights cannot be read", where=str(path), seen=str(error)) from None
    d, latents = config.get("d_in"), config.get("d_sae")
    shapes = {"W_enc": (d, latents), "b_enc": (latents,), "W_dec": (latents, d), "b_dec": (d,)}
    if kind == "jumprelu":
        shapes["threshold"] = (latents,)
    seen = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if wrong := {name: shape for name, shape in shapes.items() if seen.get(name) != shape}:
        raise DataError(
            "the weights do not fit their configuration",
            where=str(path),
            expected=", ".join(f"{name} {shape}" for name, shape in wrong.items()),
            seen=", ".join(f"{name} {seen.get(name, 'missing')}" for name in wrong),
        )
    return {name: found[name] for name in shapes}


def _folded(coder: Coder, config: Mapping[str, Any]) -> Coder:
    """The coder with what the configuration says beyond the weights taken into them."""
    W_enc, b_enc, W_dec = coder.W_enc, coder.b_enc, coder.W_dec
    if not config.get("apply_b_dec_to_input", True):
        b_enc = b_enc + coder.b_dec @ W_enc
    if coder.kind == "topk" and config.get("rescale_acts_by_decoder_norm"):
        norms = W_dec.norm(dim=1)
        W_enc, b_enc, W_dec = W_enc * norms, b_enc * norms, W_dec / norms[:, None]
    return Coder(W_enc, b_enc, W_dec, coder.b_dec, coder.kind, coder.k, coder.threshold)
