"""Sparse autoencoders that come with the engine, as SAELens folders, by the names that a spec may give them.

They lie beside this module, two seeds of one training, with a card that says by which command they were
made, from which model's bytes, what each file's checksum is and what they were measured to be worth. So one
can look at features before anything was trained here.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

PACKAGED = Path(__file__).parent / "coders"
CARD = PACKAGED / "coders.json"
CODES = "corpus_codes.safetensors"
"""In each folder beside SAELens's own files: the codes of some text, so that nobody waits for them."""


def packaged_coder_names() -> list[str]:
    """The autoencoders that come with the engine, by seed."""
    return sorted(folder.name for folder in PACKAGED.iterdir() if folder.is_dir())


def packaged_coder_folder(name: str) -> Path | None:
    """Where a packaged autoencoder lies; None for any other name."""
    # Compared with the names and never joined to the path first: a name of a spec may be any text.
    return PACKAGED / name if name in packaged_coder_names() else None


def packaged_coder_card() -> dict[str, Any]:
    """How the packaged autoencoders were made, and what they were measured to be worth."""
    return json.loads(CARD.read_text(encoding="utf-8"))


def file_hashes(folder: Path = PACKAGED) -> dict[str, str]:
    """The SHA-256 of every file but the card, by its path below the folder."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
