"""Steering vectors as files: safetensors with where they are from, and control vectors of llama.cpp.

A steering vector has a direction for each of its hook sites, and is added there at every position, times a
coefficient. Two forms are written and read, by the file's suffix:

- `.safetensors`: a tensor for each hook site, under its name, with its provenance as metadata.
- `.gguf`: what `llama-cli --control-vector-scaled FILE COEFFICIENT` loads: fp32 tensors `direction.N`, which
  llama.cpp adds, times the coefficient, to the output of block N, blocks counted from 0, at every position.
  That is `blocks.N.hook_resid_post`, and the same as `blocks.N+1.hook_resid_pre`. llama.cpp takes no
  `direction.0`: what is added after block 0, or before it, cannot be said in this form, nor can other sites.

Source: llama.cpp, `common_control_vector_load_one`, `llama_adapter_cvec` and `build_cvec`, read for the names
and for where a direction is added.
"""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import DataError, EngineError, ModelError, nearest
from engine.lab.directions import added, random_directions
from engine.models.forward import Edit
from engine.models.hooked import HookedModel
from engine.models.sites import Site, site_of, width
from engine.spec.sites import RESID_POST, RESID_PRE, split_site

Direction = Float[np.ndarray, " d_model"]
SAFETENSORS = ".safetensors"
GGUF = ".gguf"
FORMAT = "mech-steering-vector/1"
ADDED = "coefficient times the direction is added at the hook site, at every position"
"""The coefficient's convention: the same in both forms, and the one that llama.cpp has."""
ARRAY = "steering."
"""What the array of a run that holds a steering vector is called before its hook site."""
PROVENANCE = "mech.provenance"  # the key of our own in a GGUF file, which llama.cpp passes over
OTHER_NAMES = {"mistral": "llama", "gpt_neox": "gptneox"}
"""What llama.cpp calls architectures that go by another name in a Hugging Face configuration."""


@dataclass(frozen=True)
class VectorSource:
    """Where a steering vector is from; what is not known is empty.

    `architecture` is llama.cpp's name of it ("llama"), `run` the key of the run that made the vector.
    """

    model: str = ""
    model_hash: str = ""
    architecture: str = ""
    method: str = ""
    prompts: str = ""
    prompts_hash: str = ""
    run: str = ""
    engine: str = ""
    coefficient: str = ADDED


@dataclass(frozen=True)
class SteeringVector:
    """A direction of each hook site, by its name, and where they are from.

    DataError for none, for widths that differ, and for numbers that are not finite.
    """

    directions: Mapping[str, Direction]
    source: VectorSource = field(default_factory=VectorSource)

    def __post_init__(self) -> None:
        if not self.directions:
            raise DataError("a steering vector without a direction", expected="a hook site or more")
        widths = {site: direction.shape for site, direction in self.directions.items()}
        if len(set(widths.values())) > 1 or any(len(shape) != 1 for shape in widths.values()):
            seen = ", ".join(f"{site}: {shape}" for site, shape in widths.items())
            raise DataError("the directions are not one vector each, of one width", seen=seen)
        for site, direction in self.directions.items():
            if not np.isfinite(direction).all():
                raise DataError(f"the direction at {site} holds numbers that are not finite")

    @property
    def width(self) -> int:
        """How many numbers each direction has: d_model."""
        return len(next(iter(self.directions.values())))


def vector_array(site: str) -> str:
    """What a run calls the array with the direction of this hook site, from which `mech steer` takes it."""
    return f"{ARRAY}{site}"


def run_directions(arrays: Mapping[str, np.ndarray]) -> dict[str, Direction]:
    """The directions that a run kept, by hook site; none where it made no vector."""
    return {name.removeprefix(ARRAY): array for name, array in arrays.items() if name.startswith(ARRAY)}


def engine_version() -> str:
    """What made a vector."""
    return f"mech-interpretability {importlib.metadata.version('mech-interpretability')}"


def llama_architecture(model: HookedModel) -> str:
    """What llama.cpp calls the model's architecture: the hint that control vectors carry."""
    name = str(model.config.get("model_type", ""))
    return OTHER_NAMES.get(name, name)


def require_fits(vector: SteeringVector, model: HookedModel, where: str = "") -> None:
    """ModelError for a vector of another width, at sites that the model has not, or of another model.

    A file that llama.cpp's tools wrote does not say of which model it is: then only width, layers and
    architecture can be compared.
    """
    for name in vector.directions:
        site = site_of(name, model.n_layers)
        expected = width(site.kind, model.shape)
        if vector.width != expected:
            raise ModelError(
                f"the vector is of another width than {model.name}",
                where=where,
                expected=f"{expected} numbers at {name}",
                seen=f"{vector.width}, of {vector.source.model or 'a model that the file does not name'}",
            )
    source = vector.source
    if source.model_hash and source.model_hash != model.hash:
        raise ModelError(
            "the vector is of another model",
            where=where,
            expected=f"{model.name}, hash {model.hash[:12]}",
            seen=f"{source.model}, hash {source.model_hash[:12]}",
            hint=f"steer {source.model}, or make the vector anew on {model.name}",
        )
    hint = source.architecture
    if not source.model_hash and hint and hint != llama_architecture(model):
        raise ModelError(
            "the vector is of another architecture",
            where=where,
            expected=f"{llama_architecture(model)}, which {model.name} is",
            seen=hint,
        )


def steering_edits(vector: SteeringVector, model: HookedModel, coefficient: float) -> dict[Site, Edit]:
    """The vector, times a coefficient, added at each of its sites and at every position."""
    return {
        site_of(name, model.n_layers): added(torch.from_numpy(_fp32(direction)), coefficient)
        for name, direction in vector.directions.items()
    }


def random_vector(vector: SteeringVector, seed: int) -> SteeringVector:
    """A random direction in place of each of the vector's, as long as that one: its chance level."""
    drawn = {
        # Another draw for each site: one direction at all of them would be no draw at chance.
        site: random_directions(torch.from_numpy(_fp32(direction)), 1, seed + number)[0].numpy()
        for number, (site, direction) in enumerate(vector.directions.items())
    }
    return SteeringVector(drawn, VectorSource(method=f"random directions of equal length, seed {seed}"))


def save_vector(vector: SteeringVector, path: Path) -> None:
    """Write a vector in the form that the suffix names; the file is there whole or not at all.

    DataError for another suffix, a folder that is not there, and a site that a control vector cannot have.
    """
    writers = {SAFETENSORS: _write_safetensors, GGUF: _write_gguf}
    write = writers[_suffix(path)]
    if not path.parent.is_dir():
        raise DataError("there is no such folder", where=str(path.parent), expected="a folder to write into")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".vector-") as beside:
            made = Path(beside) / path.name
            write(vector, made)
            made.replace(path)
    except OSError as error:
        problem = f"the vector cannot be written: {error.strerror}"
        raise DataError(problem, where=str(path)) from None


def load_vector(path: Path) -> SteeringVector:
    """The vector in a file of either form; DataError where it is not there, broken or something else."""
    readers = {SAFETENSORS: _read_safetensors, GGUF: _read_gguf}
    read = readers[_suffix(path)]
    if not path.is_file():
        others = [file.name for file in path.parent.glob("*") if file.suffix in readers]
        raise DataError(
            "there is no such file",
            where=str(path),
            expected="a steering vector, as .safetensors or .gguf",
            near=nearest(path.name, others),
        )
    try:
        return read(path)
    # `where` is known here alone: what the vector itself refuses does not know its file.
    except EngineError as error:
        error.where = error.where or str(path)
        raise
    except (SafetensorError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            "the file is damaged, or no steering vector",
            where=str(path),
            expected="what the engine or llama.cpp wrote",
            seen=str(error),
        ) from None


def control_layer(site: str) -> int:
    """The N of `direction.N` with which llama.cpp adds at a site; DataError where it cannot."""
    depth, kind = split_site(site)
    if not depth.isdecimal():
        raise DataError("a vector is at one layer", expected="a layer as a number", seen=site)
    # x_{l+1}, what block l leaves, is what block l + 1 reads: both names are one place.
    layer = {RESID_POST: int(depth), RESID_PRE: int(depth) - 1}.get(kind)
    if layer is None or layer < 1:
        raise DataError(
            f"llama.cpp cannot add a vector at {site}",
            expected="blocks.1.hook_resid_post or later, or blocks.2.hook_resid_pre or later",
            seen="before or after block 0, which direction.0 would be" if layer is not None else kind.name,
            hint="save it as .safetensors, or make the vector at such a site",
        )
    return layer


def _suffix(path: Path) -> str:
    if path.suffix not in (SAFETENSORS, GGUF):
        raise DataError(
            "a steering vector is a .safetensors or a .gguf file",
            where=str(path),
            expected=f"{path.stem}{SAFETENSORS} or {path.stem}{GGUF}",
            seen=path.suffix or "no suffix",
        )
    return path.suffix


def _fp32(direction: np.ndarray) -> Direction:
    # A copy that is contiguous, as both writers need it.
    return np.array(direction, dtype=np.float32)


def _write_safetensors(vector: SteeringVector, path: Path) -> None:
    tensors = {site: _fp32(direction) for site, direction in vector.directions.items()}
    save_file(tensors, path, metadata={"format": FORMAT, **asdict(vector.source)})


def _read_safetensors(path: Path) -> SteeringVector:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        names = list(file.keys())
        if metadata.get("format") != FORMAT:
            raise DataError(
                "the file is no steering vector",
                expected=f"metadata that says format {FORMAT}",
                seen=f"format {metadata.get('format', 'not said')}, tensors {', '.join(names[:3])}",
            )
        tensors = {name: file.get_tensor(name) for name in names}
    return SteeringVector(tensors, _known_source(metadata))


def _known_source(said: Mapping[str, Any]) -> VectorSource:
    """What a file says of where it is from; a later version may say more."""
    names = {each.name for each in fields(VectorSource)}
    return VectorSource(**{name: str(value) for name, value in said.items() if name in names})


def _write_gguf(vector: SteeringVector, path: Path) -> None:
    layers = {site: control_layer(site) for site in vector.directions}
    if len(set(layers.values())) < len(layers):
        seen = ", ".join(layers)
        raise DataError("two directions at one place of llama.cpp", expected="different layers", seen=seen)
    writer = GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", vector.source.architecture)
    # Signed, as llama.cpp's own generator writes it.
    writer.add_int32("controlvector.layer_count", len(layers))
    writer.add_string(PROVENANCE, json.dumps(asdict(vector.source) | {"sites": list(layers)}))
    for site, layer in layers.items():
        writer.add_tensor(f"direction.{layer}", _fp32(vector.directions[site]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _read_gguf(path: Path) -> SteeringVector:
    reader = GGUFReader(path)
    said = {name: reader.fields[name].contents() for name in reader.fields if not name.startswith("GGUF.")}
    if said.get("general.architecture") != "controlvector":
        seen = f"general.architecture = {said.get('general.architecture')}"
        expected = "general.architecture = controlvector"
        raise DataError("the file is no control vector", expected=expected, seen=seen)
    directions = {_layer_of(tensor.name): _direction_of(tensor) for tensor in reader.tensors}
    provenance = json.loads(str(said.get(PROVENANCE, "{}")))
    # A file of another tool names no hook sites: a direction is then added where llama.cpp adds it.
    sites = {control_layer(site): site for site in provenance.pop("sites", [])}
    named = {sites.get(n, f"blocks.{n}.{RESID_POST.name}"): each for n, each in directions.items()}
    hint = {"architecture": str(said.get("controlvector.model_hint", ""))}
    return SteeringVector(named, _known_source(hint | provenance))


def _layer_of(tensor: str) -> int:
    start, _, number = tensor.partition(".")
    if start != "direction" or not number.isdecimal() or int(number) < 1:
        expected = "direction.1, direction.2, ..."
        raise DataError("a tensor that no control vector has", expected=expected, seen=tensor)
    return int(number)


def _direction_of(tensor: Any) -> Direction:
    if tensor.tensor_type != GGMLQuantizationType.F32:
        seen = tensor.tensor_type.name
        raise DataError(f"{tensor.name} is not of the type of a control vector", expected="F32", seen=seen)
    # A copy: the reader maps the file, which may change or go.
    return np.array(tensor.data)
