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
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engine.errors import DataError
from engine.lab.sparse.architectures.by_name import ARCHITECTURES, SAELENS
from engine.lab.sparse.coder import Coder
from engine.lab.sparse.saelens_config import CONFIG, WEIGHTS, SaelensConfig, check_tensors, read_config

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


def read_saelens(folder: Path) -> tuple[Coder, SaelensConfig]:
    """The coder in a SAELens folder, in fp32, and the folder's configuration.

    Raises DataError naming the file for a folder that is not there or broken, for another architecture, for
    tensors that are missing, unexpected or of other shapes, and for weights that are not finite.
    """
    config = read_config(folder)
    weights = _weights(config)
    if not config.fields.get("apply_b_dec_to_input", True):
        # Theirs: x W_enc + b_enc. Ours: (x - b_dec) W_enc + b_enc', equal with b_enc' = b_enc + b_dec W_enc.
        weights["b_enc"] = weights["b_enc"] + weights["b_dec"] @ weights["W_enc"]
    name, architecture = SAELENS[config.architecture]
    where = str(folder / CONFIG)
    try:
        return Coder(**architecture.load(weights, config.fields, where), architecture=name), config
    except DataError as error:
        error.where = error.where or where  # k and width that do not go together name no file
        raise


def _weights(config: SaelensConfig) -> dict[str, Tensor]:
    """The tensors in fp32, checked against the configuration and for numbers that are none."""
    check_tensors(config)
    path = config.folder / WEIGHTS
    # Into fp32 at once, as everything that codes are computed with here.
    weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    for name, tensor in weights.items():
        broken = ~torch.isfinite(tensor)
        if broken.any():
            first = tuple(broken.nonzero()[0].tolist())
            raise DataError(
                f"{name} holds numbers that are not finite",
                where=str(path),
                expected="weights without NaN and infinity",
                seen=f"{int(broken.sum()):,} of {tensor.numel():,}, the first at {first}: {tensor[first]:g}",
            )
    return weights
