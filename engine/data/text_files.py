"""Text from files: what is not there, not UTF-8, or no text at all is refused with file, line and byte."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from engine.errors import DataError, nearest

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; DataError with the nearest names beside it where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError("no such file", where=str(path), near=nearest(path.name, beside)) from None
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise DataError("the file cannot be read", where=str(path), seen=reason) from None


def decoded(content: bytes, path: Path, first_line: int = 1) -> str:
    """UTF-8 as text, without a byte order mark; DataError with file, line and byte where it is no text.

    `first_line` is the number of the line that `content` begins at.
    """
    # NUL is valid UTF-8: a text in UTF-16 and many binary files would pass below.
    if b"\0" in content:
        where = _place(content, content.index(b"\0"), path, first_line)
        raise DataError("a binary file", where=where, expected="text in UTF-8", seen="NUL bytes")
    try:
        return content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as fault:
        at = fault.start + len(content) - len(fault.object)  # the mark that was removed counts too
        raise DataError(
            "not UTF-8",
            where=_place(content, at, path, first_line),
            expected="text in UTF-8",
            seen=_byte(content, at),
            hint="save it as UTF-8",
        ) from None


def check_unicode(text: str, what: str, where: str) -> None:
    """DataError where a text holds half of a character, which JSON can spell (`\\ud83d`) and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as fault:
        around = text[max(0, fault.start - 20) : fault.end + 20]
        raise DataError(
            f"{what} is not valid Unicode",
            where=where,
            expected="whole characters",
            seen=f"half of a character, {text[fault.start]!a}, in {around!a}",
        ) from None


def _place(content: bytes, at: int, path: Path, first_line: int) -> str:
    line = first_line + content.count(b"\n", 0, at)
    return f"{path}:{line}"


def _byte(content: bytes, at: int) -> str:
    """The offending byte, its column in bytes, and what a Windows editor would have meant by it."""
    column = at - content.rfind(b"\n", 0, at)
    seen = f"the byte 0x{content[at]:02x}, byte {column} of the line"
    # Five bytes mean nothing in Windows-1252.
    with suppress(UnicodeDecodeError):
        character = content[at : at + 1].decode("cp1252")
        seen += f" ({character} in Windows-1252)"
    return seen
