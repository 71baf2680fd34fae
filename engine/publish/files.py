"""Generated files beside hand-written ones: written whole, only where they changed, removed when obsolete."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath

from engine.errors import SiteError

MANIFEST = ".generated"  # in the site folder: what the engine wrote there, one path a line

Content = str | bytes


def generated(site: Path) -> set[str]:
    """The files under `site` that the engine wrote, by path relative to it."""
    manifest = site / MANIFEST
    return set(manifest.read_text(encoding="utf-8").splitlines()) if manifest.exists() else set()


def write_files(site: Path, files: Mapping[str, Content], unchanged: Collection[str] = ()) -> list[str]:
    """Make the generated part of `site` equal to `files`; returns the paths written or removed.

    Files that are `unchanged`, by path, stay as they lie there. A file whose content did not change is not
    touched, so its time of modification tells the truth. The manifest names a file before it exists, so a
    killed write leaves nothing that a later one would not find. Raises SiteError where the folder cannot be
    written.
    """
    try:
        before = generated(site)
        # Named before they exist, and struck off only once they are gone.
        now = files.keys() | set(unchanged)
        _refuse_elsewhere(now)
        _record(site, before | now)
        written = [name for name, content in files.items() if _write(site / name, content)]
        obsolete = sorted(before - now)
        for name in obsolete:
            _remove(site, site / name)
        _record(site, now)
    except OSError as error:
        raise SiteError("the site's pages cannot be written", where=str(site), seen=str(error)) from error
    return written + obsolete


def _refuse_elsewhere(names: Iterable[str]) -> None:
    """SiteError for the path of a generated file that leads out of the site's folder."""
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise SiteError("a generated file would lie outside of the site", where=name)


def _record(site: Path, names: Iterable[str]) -> None:
    _write(site / MANIFEST, "".join(f"{name}\n" for name in sorted(names)))


def _write(path: Path, content: Content) -> bool:
    data = content.encode() if isinstance(content, str) else content
    if path.is_file() and path.read_bytes() == data:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place, so that a site builder or a server beside us never reads half a page.
    _partial(path).write_bytes(data)
    _partial(path).replace(path)
    return True


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _remove(site: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    _partial(path).unlink(missing_ok=True)
    for folder in path.parents:
        if folder == site:
            return
        if not folder.is_dir():  # someone removed it by hand
            continue
        if any(folder.iterdir()):
            return
        folder.rmdir()
