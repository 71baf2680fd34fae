"""A thread as files to be posted by hand: a text and its pictures for each post."""

from __future__ import annotations

import re
from pathlib import Path

from engine.errors import SiteError
from engine.publish.files import Content
from engine.publish.threads.thread import Thread
from engine.report.charts.pictures import PictureCache

_OURS = re.compile(r"\d\d+(-\d)?(\.alt)?\.(txt|png)|thread\.txt")


def thread_files(thread: Thread, pictures: PictureCache) -> dict[str, Content]:
    """By name: `01.txt`, `01-1.png`, `01-1.alt.txt` that describes it, and `thread.txt` with all posts."""
    files: dict[str, Content] = {}
    for post in thread.posts:
        files[f"{post.number:02}.txt"] = f"{post.text}\n"
        for image in post.images:
            files[image.name] = pictures.png(image.spec)
            files[f"{Path(image.name).stem}.alt.txt"] = f"{image.alt}\n"
    files["thread.txt"] = "\n\n\n".join(post.text for post in thread.posts) + "\n"
    return files


def write_thread(thread: Thread, folder: Path, pictures: PictureCache) -> list[Path]:
    """Write these files; files of an earlier, longer thread are removed, anything else stays.

    SiteError where the folder cannot be written.
    """
    files = thread_files(thread, pictures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if _OURS.fullmatch(old.name) and old.name not in files:
                old.unlink()
        for name, content in files.items():
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise SiteError("the thread cannot be written", where=str(folder), seen=str(error)) from error
    return [folder / name for name in files]
