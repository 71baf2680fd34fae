"""From downloaded weights to what the engine loads: safetensors, tokenizer.json, config.json, anatomy.

Nothing here unpickles or runs a model's own code. Quantised GGUF weights are dequantised to fp32 once.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, LlamaFileType
from transformers import TOKENIZER_MAPPING, AutoConfig, AutoTokenizer, PreTrainedTokenizerFast
from transformers.integrations.gguf.reader import read_gguf_metadata
from transformers.modeling_gguf_pytorch_utils import (
    TensorProcessor,
    get_gguf_hf_weights_map,
    load_gguf_checkpoint,
)

from engine.errors import ModelCorrupt, ModelError, nearest
from engine.models.anatomy import Anatomy, describe
from engine.models.checkpoint import (
    listed,
    read_checkpoint,
    require_finite,
    require_floating,
    require_rows,
    without_harmless,
)
from engine.models.declared_architecture import require_readable
from engine.models.huggingface import empty, filled, quiet
from engine.models.source_files import only_source_files

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
GGUF_MAGIC = b"GGUF"


def inspect_source(path: Path) -> None:
    """ModelCorrupt unless `path` is a GGUF file, or a Hugging Face folder with safetensors."""
    if path.is_dir():
        return _inspect_folder(path)
    if path.suffix in PICKLES:
        raise _refusal(path, "a safetensors folder or a GGUF file", "a pickle, which can run code when read")
    with path.open("rb") as file:
        magic = file.read(4)
    # By content and not by suffix: a pickle under another name must not reach a reader.
    if magic != GGUF_MAGIC:
        raise _refusal(path, f"a file that begins with {GGUF_MAGIC!r}", repr(magic))
    return None


def _inspect_folder(folder: Path) -> None:
    names = sorted(p.name for p in folder.iterdir())
    if "config.json" not in names:
        raise _refusal(folder, "a config.json beside the weights", ", ".join(names[:5]) or "an empty folder")
    # Whether transformers applies an adapter that lies beside the weights depends on what else is installed.
    if "adapter_config.json" in names:
        raise _refusal(folder, "whole weights; merge_and_unload() merges an adapter", "adapter_config.json")
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = [name for name in names if Path(name).suffix in PICKLES]
    seen = f"{', '.join(pickles)} (pickles, which can run code when read)" if pickles else "no weights"
    raise _refusal(folder, "weights in safetensors files", seen)


def convert(source: Path, target: Path) -> Anatomy:
    """Write the model of a GGUF file or a Hugging Face folder to `target`, and say what it is made of.

    ModelCorrupt where the files cannot be read or do not fill the model exactly; ModelError where the
    architecture is not supported.
    """
    inspect_source(source)
    require_readable(source)
    with quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar of the GGUF reader knows no other way
        hf, tokenizer = _read(source)
        # Before anything is written: nothing is saved of an architecture that is not supported.
        anatomy = describe(hf)
        # By the names of today: some architectures' weights had others once, and are saved under those.
        hf.save_pretrained(target, save_original_format=False)
        # Of several templates by name the default one alone is used; the others would be saved in a folder.
        if isinstance(tokenizer.chat_template, dict):
            tokenizer.chat_template = tokenizer.chat_template.get("default")
        tokenizer.save_pretrained(target)
    # Slow tokenizers save other files; the engine reads this one alone.
    if not (target / "tokenizer.json").is_file():
        raise _refusal(source, "a tokenizer that can be saved as tokenizer.json", type(tokenizer).__name__)
    return anatomy


def _read(source: Path) -> tuple[Any, Any]:
    """The source's model, filled by its tensors alone, and its tokenizer, which needs no row beyond them."""
    try:
        hf, tokenizer = _read_gguf(source) if source.is_file() else _read_folder(source)
        require_rows(tokenizer.get_vocab(), hf.config.vocab_size)
    # Not the file's fault: it must not be reported as damaged.
    except MemoryError:
        raise
    except ModelError as problem:
        # Where the files lie is known here alone: they are read through links.
        problem.where = str(source)
        raise
    except Exception as problem:  # what a reader raises on broken bytes has no common base
        raise _refusal(source, "weights that transformers can read", _first_line(problem)) from problem
    return hf, tokenizer


def _read_gguf(file: Path) -> tuple[Any, Any]:
    """What `AutoModelForCausalLM` and `AutoTokenizer` make of the file, in half the time.

    They parse the header, with its vocabulary of 50,000 entries, three times, and map all tensor names anew
    for each of a model's hundreds of submodules. So the reader that they call is called here, once.
    """
    names = _GgufNames(file)
    found = load_gguf_checkpoint(
        str(file), return_tensors=True, model_to_load=names, torch_dtype=torch.float32
    )
    config = AutoConfig.for_model(**found["config"])
    hf = empty(config, torch.float32)
    # First, since of an unsupported architecture nothing else is worth saying.
    describe(hf)
    names.require_all_read()
    require_finite(found["tensors"])
    hf = filled(hf, found["tensors"])
    # As AutoTokenizer chooses; Mistral's own class reads files that do not lie beside a GGUF.
    own_class: Any = TOKENIZER_MAPPING.get(type(config), PreTrainedTokenizerFast)
    tokenizer_class = PreTrainedTokenizerFast if config.model_type == "mistral" else own_class
    tokenizer = tokenizer_class.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    return hf, tokenizer


class _GgufNames:
    """What the GGUF reader asks of the model that it reads for: names of parameters, all at once.

    They follow from architecture and number of blocks, which are read from the file without its vocabulary.
    """

    def __init__(self, file: Path) -> None:
        self.metadata, self.tensors = read_gguf_metadata(str(file))
        architecture = self.metadata["general.architecture"]
        blocks = self.metadata[f"{architecture}.block_count"]
        self.config = AutoConfig.for_model(architecture, num_hidden_layers=blocks)
        # Without storage: only the names of parameters are asked for.
        self.state_dict = empty(self.config, torch.float32).state_dict

    def named_children(self) -> list[tuple[str, Any]]:
        """None: each child would be asked for the names again."""
        return []

    def require_all_read(self) -> None:
        """ModelError where the file says something that the reader leaves out without a word."""
        known = get_gguf_hf_weights_map(self, TensorProcessor(config={}))
        # GPT-2's reader takes its unembedding by name, past the map.
        strange = [name for name in self.tensors if name not in known and name != "output.weight"]
        if strange:
            raise ModelCorrupt(
                "a GGUF file holds tensors that no parameter of its architecture takes",
                seen=listed(strange),
                near=dict.fromkeys(near for name in strange[:3] for near in nearest(name, known, 1)),
            )
        scaling = self.metadata.get(f"{self.config.model_type}.rope.scaling.type", "none")
        if scaling != "none":
            raise ModelError(
                "a GGUF file scales its rotary positions, which its reader leaves out",
                expected="no rope.scaling",
                seen=str(scaling),
                hint="the Hugging Face folder of the same model",
            )


def _read_folder(folder: Path) -> tuple[Any, Any]:
    """The model of a folder, read from the files that are hashed and from no other.

    Without transformers' own loader, which fills a parameter that the files lack with random values.
    """
    with only_source_files(folder) as files:
        # `trust_remote_code=False` refuses a repository's own Python.
        here: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        config = AutoConfig.from_pretrained(files, **here)
        tensors = without_harmless(read_checkpoint(files))
        require_floating(tensors)
        # The dtype that the configuration names, or else the file's own.
        dtype: Any = config.dtype or next((tensor.dtype for tensor in tensors.values()), torch.float32)
        hf = empty(config, dtype)
        # First, since of an unsupported architecture nothing else is worth saying.
        describe(hf)
        hf = filled(hf, {name: tensor.to(dtype) for name, tensor in tensors.items()})
        # As they are used: what is finite in float32 may not be in float16.
        require_finite(hf.state_dict())
        return hf, AutoTokenizer.from_pretrained(files, **here)


def gguf_quantisation(file: Path) -> str:
    """`dequantised from Q4_1`, from the file's own header; empty for unquantised weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        entry = GGUFReader(file).fields.get("general.file_type")
    if entry is None:
        return "dequantised from GGUF"
    # `MOSTLY_Q4_1` and `ALL_F32`: the prefix says how many tensors have it.
    name = LlamaFileType(entry.contents()).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    return "" if name in ("F32", "BF16", "F16") else f"dequantised from {name}"


def _refusal(path: Path, expected: str, seen: str) -> ModelCorrupt:
    return ModelCorrupt(
        "these are not weights the engine reads", where=str(path), expected=expected, seen=seen
    )


def _first_line(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {next(iter(str(problem).splitlines()), '')}"
