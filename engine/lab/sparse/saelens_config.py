"""What an SAELens folder says it holds, read without torch and without its weights: what a plan must know.

A folder has cfg.json and sae_weights.safetensors. The configuration is taken in the words of SAELens 6;
earlier ones are translated: Top-K as an activation function, `hook_name` and `model_name` beside the sizes
and not under `metadata`, `hook_point`. Where a dictionary that was made for one model or hook site is to be
read at another, `engine sae import` writes import.json beside it, which overrules both names.

Source: SAELens 6, `sae_lens/saes/` and `sae_lens/loading/` (MIT), read for the names and meaning of fields.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from engine.errors import DataError, nearest

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
SPARSITY = "sparsity.safetensors"
IMPORT = "import.json"
"""Written here beside the folder's own files: what it is applied to, and where it came from."""
TOPK = "topk"
JUMPRELU = "jumprelu"
STANDARD = "standard"
READABLE = (TOPK, JUMPRELU, STANDARD)
"""Architectures by SAELens's names. A BatchTopK that SAELens saves is a `jumprelu` there."""

FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
"""Of safetensors: what weights may be stored as."""

# TransformerLens's bridge and Hugging Face call a block's input and output otherwise.
BRIDGE_SITE = re.compile(r"blocks\.(\d+)\.hook_(in|out)")
BLOCK_OUTPUT = re.compile(r"(?:model\.layers|transformer\.h|gpt_neox\.layers)\.(\d+)")
RESIDUAL_SITE = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
MODEL_ALIASES = {"gpt2-small": "gpt2"}
"""Names by which TransformerLens knows a model that the hub has under another."""


@dataclass(frozen=True)
class SaelensConfig:
    """A folder's configuration: `fields` in the words of SAELens 6, and what of them is used here.

    `k` is that of a Top-K, and of other architectures the one that training aimed at, where the folder says
    so. `model` and `hook_site` are empty where none is named; `made_for` is what cfg.json has, where
    import.json says otherwise.
    """

    folder: Path
    fields: Mapping[str, Any]
    architecture: str
    d: int
    n_features: int
    k: int | None
    model: str
    hook_site: str
    made_for: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that the weights must hold, and no other ones."""
        shapes: dict[str, tuple[int, ...]] = {
            "W_enc": (self.d, self.n_features),
            "b_enc": (self.n_features,),
            "W_dec": (self.n_features, self.d),
            "b_dec": (self.d,),
        }
        return shapes | ({"threshold": (self.n_features,)} if self.architecture == JUMPRELU else {})


def read_config(folder: Path) -> SaelensConfig:
    """The configuration of a folder; DataError naming the file where it cannot be read or applied here."""
    where = str(folder / CONFIG)
    fields = _translated(_json(folder / CONFIG))
    architecture = _architecture(fields, where)
    metadata = fields["metadata"]
    model = str(metadata.get("model_name") or "")
    hook_site = str(metadata.get("hook_name") or "")
    said = _json(folder / IMPORT) if (folder / IMPORT).exists() else {}
    read_on = str(said.get("model") or model)
    read_at = str(said.get("hook_site") or hook_site)
    k = fields.get("k") if architecture == TOPK else metadata.get("k")
    return SaelensConfig(
        folder=folder,
        fields=fields,
        architecture=architecture,
        d=_size(fields, "d_in", where),
        n_features=_size(fields, "d_sae", where),
        k=_whole(k),
        model=read_on,
        hook_site=read_at,
        made_for=f"{model}, {hook_site}" if (read_on, read_at) != (model, hook_site) else "",
    )


def check_tensors(config: SaelensConfig) -> None:
    """DataError where the weights' names, shapes or types are not what the configuration says.

    Read from the file's header, so that it costs nothing however large the weights are.
    """
    path = config.folder / WEIGHTS
    try:
        with safe_open(path, framework="np") as opened:
            names = opened.keys()
            slices = {name: opened.get_slice(name) for name in names}
            seen = {name: (tuple(found.get_shape()), found.get_dtype()) for name, found in slices.items()}
    except FileNotFoundError:
        raise DataError("the weights are missing", where=str(path), expected=WEIGHTS) from None
    except (OSError, SafetensorError) as error:
        raise DataError("these weights cannot be read", where=str(path), seen=str(error)) from None
    shapes = config.shapes
    wrong = {name: shape for name, shape in shapes.items() if seen.get(name, ((), ""))[0] != shape}
    if wrong:
        given = {name: str(seen[name][0]) if name in seen else "missing" for name in wrong}
        raise DataError(
            "the weights do not fit their configuration",
            where=str(path),
            expected=", ".join(f"{name} {shape}" for name, shape in wrong.items()),
            seen=", ".join(f"{name} {found}" for name, found in given.items()),
            near=sorted({near for name in wrong if name not in seen for near in nearest(name, seen)}),
        )
    # A tensor that is not known here takes part in what the coder computes there: codes would be others.
    strange = sorted(seen.keys() - shapes.keys())
    if strange:
        raise DataError(
            f"a {config.architecture} coder has no tensor {strange[0]!r}",
            where=str(path),
            expected=", ".join(shapes),
            seen=", ".join(sorted(seen)),
            near=nearest(strange[0], shapes),
        )
    no_floats = {name: kind for name, (_, kind) in seen.items() if kind not in FLOAT_TYPES}
    if no_floats:
        told = ", ".join(f"{name} {kind}" for name, kind in no_floats.items())
        raise DataError("weights are floats", where=str(path), expected=", ".join(FLOAT_TYPES), seen=told)


def misfit(config: SaelensConfig, model: str, hook_site: str | None) -> DataError | None:
    """Why a dictionary is not one of this model or hook site; None where it is, or does not say.

    A site is judged with its layer as a number; None judges the model alone.
    """
    where = str(config.folder / CONFIG)
    if config.model and not same_model(config.model, model):
        hint = f"engine sae import {config.folder} --model {model} says that it is to be read on that model"
        return DataError(
            "this dictionary is of another model", where=where, expected=model, seen=config.model, hint=hint
        )
    if hook_site and config.hook_site and not same_site(config.hook_site, hook_site):
        return DataError(
            "this dictionary is of another hook site",
            where=where,
            expected=hook_site,
            seen=config.hook_site,
            hint=f"hook_site: {plain_site(config.hook_site)}, or engine sae import {config.folder} "
            f"--hook-site {hook_site}, which says that it is to be read there",
        )
    return None


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model: SAELens, TransformerLens and the hub spell them differently.

    Paths are compared whole. Of other names the organisation, a revision and capitals do not count.
    """
    if one.startswith(("./", "/")) and other.startswith(("./", "/")):
        return one == other
    return _plain_model(one) == _plain_model(other)


def same_site(one: str, other: str) -> bool:
    """Whether two hook sites are the same activations: what leaves a block enters the next one."""
    return _residual_edge(plain_site(one)) == _residual_edge(plain_site(other))


def plain_site(name: str) -> str:
    """A site by TransformerLens's name: its bridge and Hugging Face have others for the residual stream."""
    if found := BRIDGE_SITE.fullmatch(name):
        return f"blocks.{found[1]}.hook_resid_{'pre' if found[2] == 'in' else 'post'}"
    if found := BLOCK_OUTPUT.fullmatch(name):
        return f"blocks.{found[1]}.hook_resid_post"
    return name


def folder_hash(folder: Path) -> str:
    """sha256 of what is read of a folder: of the two lines that `sha256sum` prints of its files."""
    files = [folder / CONFIG, folder / WEIGHTS]
    stats = [file.stat() for file in files]
    # With the time of the inode's change, which nobody can set.
    return _hash_at(tuple(files), tuple((s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats))


@lru_cache(maxsize=64)
def _hash_at(files: tuple[Path, ...], stamps: tuple[tuple[int, int, int], ...]) -> str:
    # The stamps are part of what is remembered by: a changed file is read again.
    lines = []
    for file in files:
        with file.open("rb") as opened:
            lines.append(f"{hashlib.file_digest(opened, 'sha256').hexdigest()}  {file.name}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        nothing = "a file" if path.parent.is_file() else "no such folder"
        seen = ", ".join(beside[:8]) or ("an empty folder" if path.parent.is_dir() else nothing)
        # A release has a folder for each site: its user may have named the one above.
        below = sorted(p.parent.name for p in path.parent.glob(f"*/{CONFIG}"))
        raise DataError(
            "this is no SAELens folder",
            where=str(path),
            expected=f"{CONFIG} and {WEIGHTS}",
            seen=seen,
            near=below[:3],
        ) from None
    except (OSError, ValueError) as error:
        raise DataError("this configuration cannot be read", where=str(path), seen=str(error)) from None
    if not isinstance(config, dict):
        seen = type(config).__name__
        raise DataError("this is no configuration", where=str(path), expected="a JSON object", seen=seen)
    return config


def _translated(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration in the words of SAELens 6."""
    # Older configurations have an activation function beside the architecture, under one of two names.
    activation = config.get("activation_fn", config.get("activation_fn_str", "relu"))
    if activation == "topk":
        config["architecture"] = TOPK
        config.setdefault("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    # An activation unknown here must not pass as ReLU: it becomes a name that no architecture has, and is
    # refused by name.
    elif activation != "relu":
        config["architecture"] = f"{config.get('architecture', STANDARD)} with {activation}"
    names = {
        "model_name": config.get("model_name"),
        "hook_name": config.get("hook_name") or config.get("hook_point"),
        "hook_head_index": config.get("hook_head_index"),
    }
    metadata = config.get("metadata") or {}
    # `standard` is the default of configurations that are older than the field.
    return {"architecture": STANDARD} | config | {"metadata": names | metadata}


def _architecture(fields: Mapping[str, Any], where: str) -> str:
    """SAELens's name of the architecture; DataError for one that cannot be expressed here."""
    architecture = str(fields["architecture"])
    if architecture not in READABLE:
        raise DataError(
            f"an SAELens folder of the architecture {architecture!r}",
            where=where,
            expected="one of " + ", ".join(READABLE),
            seen=architecture,
            near=nearest(architecture, READABLE),
        )
    normalisation = fields.get("normalize_activations") or "none"
    if normalisation != "none" or fields.get("finetuning_scaling_factor"):
        raise DataError(
            "this coder rescales its activations at run time",
            where=where,
            expected="normalize_activations: none, and no finetuning_scaling_factor",
            seen=str(normalisation),
            hint="fold the scaling into the weights with SAELens and save it again",
        )
    head = fields["metadata"].get("hook_head_index")
    if head is not None:
        raise DataError(
            "this coder reads one head alone",
            where=where,
            expected="all heads side by side (hook_head_index: null)",
            seen=f"hook_head_index: {head}",
        )
    return architecture


def _size(fields: Mapping[str, Any], name: str, where: str) -> int:
    value = _whole(fields.get(name))
    if value is None or value < 1:
        seen = repr(fields[name]) if name in fields else "nothing"
        raise DataError(f"a coder says its {name}", where=where, expected="a whole number", seen=seen)
    return value


def _whole(value: Any) -> int | None:
    # A JSON true is an int to Python.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _plain_model(name: str) -> str:
    plain = name.rstrip("/").rpartition("/")[2].partition("@")[0].lower()
    return MODEL_ALIASES.get(plain, plain)


def _residual_edge(site: str) -> str:
    """The output of a block under the name that the next block has for it; other sites as they are."""
    found = RESIDUAL_SITE.fullmatch(site)
    return f"into block {int(found[1]) + (found[2] == 'post')}" if found else site
