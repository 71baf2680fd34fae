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

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import DataError, nearest
from engine.lab.sparse.architectures import jumprelu
from engine.lab.sparse.architectures.by_name import ARCHITECTURES, SAELENS
from engine.lab.sparse.coder import Coder

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
FORMAT_VERSION = "6.0.0"  # of SAELens, whose readers take a configuration without one to be older


def write_saelens(
    coder: Coder, folder: Path, *, model_name: str, hook_name: str, **metadata: Any
) -> tuple[Path, Path]:
    """Write a coder, folded, as a SAELens folder; the paths of its configuration and weights.

    `metadata` are further fields such as context_size, prepend_bos and dataset_path. Raises DataError where
    the folder cannot be written.
    """
    # The configuration says `normalize_activations: none`: the input's scale goes into biases and threshold.
    coder = coder.folded()
    architecture = ARCHITECTURES[coder.architecture]
    more_config, more_tensors = architecture.save(coder.k, coder.threshold, coder.b_enc)
    config: dict[str, Any] = {
        "architecture": architecture.SAELENS,
        "d_in": coder.d,
        "d_sae": coder.n_features,
        "dtype": "float32",
        "device": "cpu",
        # As `Coder.pre_activations` does: the decoder's bias is taken from the input before encoding.
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        # At hook_z the model has heads and their widths apart; SAELens flattens them for a coder that says
        # so.
        "reshape_activations": "hook_z" if hook_name.endswith("hook_z") else "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, "model_name": model_name, "hook_name": hook_name}
        | metadata,
    } | more_config
    tensors = {
        # safetensors refuses views that are not contiguous, such as a transposed encoder.
        name: getattr(coder, name).float().contiguous()
        for name in ("W_enc", "b_enc", "W_dec", "b_dec")
    } | more_tensors
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        problem = f"the coder cannot be written: {error.strerror}"
        raise DataError(problem, where=str(folder), expected="a folder that can be written") from None
    return folder / CONFIG, folder / WEIGHTS


def read_saelens(folder: Path) -> tuple[Coder, dict[str, Any]]:
    """The coder in a SAELens folder, in fp32, and the folder's configuration.

    Raises DataError naming the file for a folder that is not there, broken, or of another architecture.
    """
    config = _config(folder / CONFIG)
    where = str(folder / CONFIG)
    saelens_name = _architecture(config, where)
    weights = _weights(folder / WEIGHTS, config, with_threshold=saelens_name == jumprelu.SAELENS)
    if not config.get("apply_b_dec_to_input", True):
        # Theirs: x W_enc + b_enc. Ours: (x - b_dec) W_enc + b_enc', equal with b_enc' = b_enc + b_dec W_enc.
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    name, architecture = SAELENS[saelens_name]
    return Coder(**architecture.load(weights, config, where), architecture=name), config


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
    # Older configurations have an activation function beside the architecture, under one of two names.
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation == "topk":
        config["architecture"] = "topk"
        config.setdefault("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    # An activation unknown here must not pass as ReLU: it becomes a name that no architecture has, and is
    # refused by name.
    elif activation != "relu":
        config["architecture"] = f"{config.get('architecture', 'standard')} with {activation}"
    # The default of configurations that are older than the field.
    return {"architecture": "standard"} | config


def _architecture(config: Mapping[str, Any], where: str) -> str:
    """SAELens's name of the architecture; DataError for one that cannot be expressed here."""
    architecture = str(config["architecture"])
    if architecture not in SAELENS:
        raise DataError(
            f"an SAELens folder of the architecture {architecture!r}",
            where=where,
            expected="one of " + ", ".join(SAELENS),
            seen=architecture,
            near=nearest(architecture, SAELENS),
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
    return architecture


def _weights(path: Path, config: Mapping[str, Any], *, with_threshold: bool) -> dict[str, Tensor]:
    """The tensors in fp32, their names and shapes checked against the configuration."""
    try:
        # Into fp32 at once, as everything that codes are computed with here.
        found = {name: tensor.float() for name, tensor in load_file(path).items()}
    except FileNotFoundError:
        raise DataError("the weights are missing", where=str(path), expected=WEIGHTS) from None
    except (OSError, SafetensorError) as error:
        raise DataError("these weights cannot be read", where=str(path), seen=str(error)) from None
    d = config.get("d_in")
    latents = config.get("d_sae")
    shapes = {"W_enc": (d, latents), "b_enc": (latents,), "W_dec": (latents, d), "b_dec": (d,)}
    if with_threshold:
        shapes["threshold"] = (latents,)
    seen = {name: tuple(tensor.shape) for name, tensor in found.items()}
    wrong = {name: shape for name, shape in shapes.items() if seen.get(name) != shape}
    if wrong:
        raise DataError(
            "the weights do not fit their configuration",
            where=str(path),
            expected=", ".join(f"{name} {shape}" for name, shape in wrong.items()),
            seen=", ".join(f"{name} {seen.get(name, 'missing')}" for name in wrong),
        )
    # Other tensors that a folder may hold are no part of a coder.
    return {name: found[name] for name in shapes}
