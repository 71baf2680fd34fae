"""Whether tensors fill a model: every parameter once, by its name, in its shape, finite. Nothing is made up.

transformers gives a parameter that a file lacks random values and leaves out a tensor that it does not know,
with a warning at most. Here either is an error, whichever way the weights came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import ModelCorrupt, nearest

WHOLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
NAMES_SHOWN = 4
FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""The dtypes that hold weights as they are; 8-bit floats and integers mean nothing without their scales."""
HARMLESS = (
    r"(^|\.)rotary_emb\.inv_freq$",
    r"(^|\.)h\.\d+\.attn\.(bias|masked_bias)$",
    r"(^|\.)layers\.\d+\.attention\.(bias|masked_bias)$",
)
"""Buffers that older versions of transformers saved: rotary frequencies, and the causal masks of GPT-2 and
GPT-NeoX. They follow from the configuration and are computed from it."""
OLD_NAMES = {"embed_out.weight": "lm_head.weight"}
"""Parameters that transformers has renamed since checkpoints were written (GPT-NeoX: all of Pythia's)."""
WRAPPERS = {
    "_orig_mod.": "torch.compile puts it there: save the state_dict of the model that was compiled",
    "_fsdp_wrapped_module.": "FSDP puts it there: gather the full state_dict before saving",
    "_checkpoint_wrapped_module.": "activation checkpointing puts it there: save the model below it",
    "base_model.model.": "PEFT puts it there: merge_and_unload() the adapter before saving",
    "module.": "DataParallel puts it there: save model.module.state_dict()",
}
"""Parts of names that are left by a wrapper around the model, and how to be rid of them."""


def read_checkpoint(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder, mapped from model.safetensors or from the shards of its index.

    ModelCorrupt where a file is empty, cut off or missing, or where index and shards contradict each other.
    """
    # As transformers chooses where both are there.
    if (folder / WHOLE_FILE).is_file():
        return _tensors_of(folder / WHOLE_FILE)
    if (folder / INDEX_FILE).is_file():
        return _sharded(folder)
    raise ModelCorrupt(
        "there is no weight file of the name that Hugging Face gives it",
        expected=f"{WHOLE_FILE}, or {INDEX_FILE} and its shards",
        seen=", ".join(sorted(file.name for file in folder.glob("*.safetensors"))),
    )


def _tensors_of(file: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(file)
    # A cut file ends the mapping early, a dtype that torch lacks has no entry in the reader's table.
    except (SafetensorError, OSError, ValueError, KeyError) as problem:
        reason = f"{type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
        raise ModelCorrupt(f"{file.name} is no whole safetensors file", seen=reason) from problem
    if not tensors:
        raise ModelCorrupt(f"{file.name} holds no tensor")
    return tensors


def _sharded(folder: Path) -> dict[str, Tensor]:
    """All shards' tensors, each where the index says it is."""
    try:
        places: dict[str, str] = dict(json.loads((folder / INDEX_FILE).read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as problem:
        raise ModelCorrupt(f"{INDEX_FILE} has no weight_map that can be read", seen=str(problem)) from problem
    shards = sorted(set(places.values()))
    # Names only: a path would lead out of the folder.
    lost = [name for name in shards if Path(name).name != name or not (folder / name).is_file()]
    if lost:
        raise ModelCorrupt("shards that the index names are not in the folder", seen=listed(lost))
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        found = _tensors_of(folder / shard)
        said = {name for name, place in places.items() if place == shard}
        if said != set(found):
            raise ModelCorrupt(
                f"{shard} does not hold the tensors that {INDEX_FILE} says",
                expected=listed(said - set(found)) or "no more than the index names",
                seen=f"besides: {listed(set(found) - said) or 'nothing'}",
            )
        tensors |= found
    return tensors


def require_floating(tensors: Mapping[str, Tensor]) -> None:
    """ModelCorrupt, by name, for tensors that are no floating-point numbers, or 8-bit ones."""
    strange = [f"{name} ({t.dtype})" for name, t in tensors.items() if t.dtype not in FLOATING]
    if strange:
        raise ModelCorrupt(
            "tensors are not weights as they are",
            expected="float32, bfloat16, float16 or float64",
            seen=listed(strange),
            hint="a quantised checkpoint has to be dequantised first, or given as GGUF",
        )


def require_finite(tensors: Mapping[str, Tensor]) -> None:
    """ModelCorrupt, by name, for tensors in which a number is NaN or infinite."""
    # The extremes of a tensor are NaN or infinite where any entry is; one pass, and no mask is made.
    broken = [name for name, t in tensors.items() if t.numel() and not _finite(t)]
    if broken:
        raise ModelCorrupt("weights are NaN or infinite", seen=listed(broken))


def _finite(tensor: Tensor) -> bool:
    low, high = tensor.aminmax()
    return bool(torch.isfinite(low) and torch.isfinite(high))


def without_harmless(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the buffers that follow from the configuration."""
    return {name: tensor for name, tensor in tensors.items() if not _harmless(name)}


def _harmless(name: str) -> bool:
    return any(re.search(pattern, name) for pattern in HARMLESS)


def placed(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    tied: Mapping[str, str],
    base: str = "",
) -> dict[str, Tensor]:
    """The tensors under the names that the model expects, each expected one there and in its shape.

    `tied` names by each tied parameter the one that it is: one of the two suffices. `base` is the name of the
    inner model, which a checkpoint of it alone leaves out ("transformer" of GPT-2). ModelCorrupt names what
    is missing, unexpected, given twice or of another shape.
    """
    found: dict[str, Tensor] = {}
    unexpected: list[str] = []
    for name, tensor in tensors.items():
        here = (name, f"{base}.{name}", OLD_NAMES.get(name, ""))
        place = next((known for known in here if known in expected), "")
        if not place:
            unexpected.append(name)
        elif place in found:
            raise ModelCorrupt("a checkpoint holds a parameter under two names", seen=f"{name}, {place}")
        else:
            found[place] = tensor
    _join_tied(found, tied)
    missing = [name for name in expected if name not in found and name not in tied]
    if unexpected or missing:
        raise _unfilled(unexpected, missing, expected)
    misshapen = [
        f"{name} {tuple(found[name].shape)} for {tuple(size)}"
        for name, size in expected.items()
        if name in found and found[name].shape != size
    ]
    if misshapen:
        raise ModelCorrupt(
            "tensors have another shape than config.json says",
            seen=listed(misshapen),
        )
    return found


def _join_tied(found: dict[str, Tensor], tied: Mapping[str, str]) -> None:
    """Leave each tied pair its source alone; ModelCorrupt where the file holds two different ones."""
    for target, source in tied.items():
        if target not in found:
            continue
        # A saver that drops shared tensors may have kept either name.
        tensor = found.pop(target)
        if not torch.equal(found.setdefault(source, tensor), tensor):
            raise ModelCorrupt(
                "the configuration ties two tensors that differ in the checkpoint",
                seen=f"{target}, {source}",
                hint='"tie_word_embeddings": false in config.json, if they were trained apart',
            )


def _unfilled(unexpected: list[str], missing: list[str], expected: Iterable[str]) -> ModelCorrupt:
    said = [f"{len(missing)} missing: {listed(missing)}"] if missing else []
    said += [f"{len(unexpected)} unexpected: {listed(unexpected)}"] if unexpected else []
    # A lost tensor has its like among the unexpected ones, where it was only renamed.
    near = [name for odd in unexpected[:NAMES_SHOWN] for name in nearest(odd, expected, 1)]
    return ModelCorrupt(
        "the tensors do not fill the model: they do not hold every parameter, and no other",
        expected="every parameter of the architecture in config.json, by its name",
        seen="; ".join(said),
        near=dict.fromkeys(near),
        hint=_wrapper(unexpected, set(expected)),
    )


def _wrapper(unexpected: Iterable[str], expected: set[str]) -> str:
    """Which wrapper left its mark in names that are right without it."""
    for mark, cure in WRAPPERS.items():
        if any(mark in name and name.replace(mark, "") in expected for name in unexpected):
            return f"names carry `{mark}`; {cure}"
    return ""


def require_rows(vocabulary: Mapping[str, int], rows: int) -> None:
    """ModelCorrupt where the tokenizer gives ids that the embedding has no row for."""
    beyond = sorted((i, token) for token, i in vocabulary.items() if i >= rows)
    if beyond:
        raise ModelCorrupt(
            "the embedding has fewer rows than the tokenizer has tokens",
            expected=f"ids below {rows}",
            seen=listed(f"{token!r} is {i}" for i, token in beyond),
            hint="take the model's own tokenizer, or call resize_token_embeddings() before saving",
        )


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
