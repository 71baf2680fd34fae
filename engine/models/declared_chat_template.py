"""Whether a model's files hold a chat template, asked before anything is loaded.

Nothing here imports torch or transformers. A template is looked for where a tokenizer of transformers finds
it: in `chat_template.jinja`, under `chat_template` in `tokenizer_config.json`, and under
`tokenizer.chat_template` in a GGUF file's header.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.models.cards import cached_record, find_card, model_folder

TEMPLATE_FILE = "chat_template.jinja"
TOKENIZER_FILE = "tokenizer_config.json"
GGUF_TEMPLATE = "tokenizer.chat_template"


def has_chat_template(name: str) -> bool | None:
    """Whether a model has a chat template: by its files in the cache, or else, of a local model, by its own.

    None where nothing can be said: of a model that is not fetched yet, and of files that cannot be read.
    """
    card = find_card(name)
    if cached_record(card) is not None:
        return declares_chat_template(model_folder(card))
    return None if card.pins.path is None else declares_chat_template(card.pins.path)


def declares_chat_template(path: Path) -> bool | None:
    """Whether a Hugging Face folder or a GGUF file holds a template; None where it cannot be read."""
    try:
        return _in_gguf(path) if path.is_file() else _in_folder(path)
    # A broken file has an error of its own once it is read whole. What the GGUF reader raises on one has no
    # common base.
    except Exception:
        return None


def _in_folder(folder: Path) -> bool:
    # The file counts for more than the configuration, as transformers has it.
    if (folder / TEMPLATE_FILE).is_file():
        return bool((folder / TEMPLATE_FILE).read_text(encoding="utf-8"))
    if not (folder / TOKENIZER_FILE).is_file():
        return False
    config = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    return _is_template(config.get("chat_template"))


def _is_template(written: Any) -> bool:
    """A text, or a list of named ones, of which the one called `default` renders a plain request."""
    if isinstance(written, list):
        return any(entry["name"] == "default" and entry["template"] for entry in written)
    return isinstance(written, str) and bool(written)


def _in_gguf(file: Path) -> bool:
    from gguf import GGUFReader

    entry = GGUFReader(file).fields.get(GGUF_TEMPLATE)
    return entry is not None and bool(entry.contents())
