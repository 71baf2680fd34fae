"""Weights from the Hugging Face hub: safetensors only, at one commit; a quick no where it cannot be had."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from engine.errors import ModelCorrupt, ModelUnavailable, ModelUnknown
from engine.models.known import ModelCard
from engine.models.source_files import READ_PATTERNS

ASK_SECONDS = 5.0
"""How long the hub may take to answer a question about a repository."""
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # a write that fails names no file
T = TypeVar("T")


def resolve(card: ModelCard) -> tuple[str, int]:
    """The commit that the card's revision means now, and how many bytes it would take to fetch.

    ModelUnavailable within seconds where the hub does not answer; ModelUnknown where it has no such
    repository or revision; ModelCorrupt where the repository has pickles but no safetensors.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    def ask() -> Any:
        api = HfApi(endpoint=_endpoint())
        revision = card.pins.revision or None
        return api.model_info(
            card.pins.repository, revision=revision, files_metadata=True, timeout=ASK_SECONDS
        )

    try:
        info = within(2 * ASK_SECONDS, ask)
    except GatedRepoError as problem:
        raise out_of_reach(
            card, "it asks for a licence to be accepted and a token", "hf auth login"
        ) from problem
    except (RepositoryNotFoundError, RevisionNotFoundError) as problem:
        raise ModelUnknown(
            f"the hub has no {card.pins.repository} {card.pins.revision}".rstrip(),
            hint="check the spelling; a private repository needs a token (hf auth login)",
        ) from problem
    except Exception as problem:  # httpx, OSError and the hub's own errors have no common base
        raise out_of_reach(card, f"{type(problem).__name__}: {problem}".splitlines()[0]) from problem
    return _commit_and_size(card, info)


def _commit_and_size(card: ModelCard, info: Any) -> tuple[str, int]:
    # At the top of the repository only: what subfolders hold is not downloaded (`ignore_patterns`).
    files = {f.rfilename: f.size or 0 for f in info.siblings or () if "/" not in f.rfilename}
    weights = [size for name, size in files.items() if name.endswith(".safetensors")]
    if not weights:
        raise ModelCorrupt(
            f"{card.pins.repository} has no safetensors",
            expected="weights in safetensors files",
            seen=", ".join(sorted(files)[:8]),
            hint="pickle checkpoints can run code when read, and are refused",
        )
    return info.sha, sum(weights)


def download(card: ModelCard, commit: str, folder: Path) -> Path:
    """The repository's safetensors, tokenizer and configuration at `commit`; files already whole are kept."""
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            card.pins.repository,
            # The commit and not the branch: a push between question and download would mix two versions.
            revision=commit,
            local_dir=folder,
            allow_patterns=list(READ_PATTERNS),
            ignore_patterns=["*/*"],
            endpoint=_endpoint(),
            etag_timeout=ASK_SECONDS,
            max_workers=2,
        )
    except OSError as problem:
        # The machine's own files, and not the network: reported as such further up.
        if _is_of_the_disk(problem):
            raise
        raise out_of_reach(card, str(problem).splitlines()[0]) from problem
    except Exception as problem:
        raise out_of_reach(card, f"{type(problem).__name__}: {problem}".splitlines()[0]) from problem
    return folder


def _is_of_the_disk(problem: OSError) -> bool:
    """Whether a file or the disk failed; errors of sockets have numbers too, but name no file."""
    return problem.filename is not None or problem.errno in DISK_ERRORS


def out_of_reach(card: ModelCard, reason: str, hint: str = "") -> ModelUnavailable:
    return ModelUnavailable(
        f"{card.name} cannot be had from the Hugging Face hub: {reason}",
        hint=hint or f"when the hub can be reached: engine models get {card.name}",
    )


def _endpoint() -> str | None:
    """HF_ENDPOINT as it is now; huggingface_hub reads it only once."""
    return os.environ.get("HF_ENDPOINT")


def within(seconds: float, ask: Callable[[], T]) -> T:
    """What `ask` returns or raises, or TimeoutError: a name lookup may hang longer than any HTTP timeout."""
    answer: list[T] = []
    problem: list[BaseException] = []

    def run() -> None:
        try:
            answer.append(ask())
        # Everything, since an exception in a thread would be printed and lost.
        except BaseException as error:
            problem.append(error)

    # A daemon, so that a lookup that hangs does not keep the process from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if problem:
        raise problem[0]
    if not answer:
        raise TimeoutError(f"no answer in {seconds:.0f} seconds")
    return answer[0]
