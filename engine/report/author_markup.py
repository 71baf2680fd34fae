r"""What an author's Markdown may do on the site: everything but HTML, scripts and addresses that run.

A report is written by whoever proposes it, and what Markdown lets through would run in the browser of each
reader. So before any number is injected

1. `<` is text, in code as well as in prose; what the engine prints later is the only HTML. `<https://...>`
   stays a link. Code that holds a `<` is printed by the engine: where Markdown sees code is not certain
   enough to rest on.
2. a link leads to a page or file of the site, or to a `http`, `https` or `mailto` address; an image is of the
   site; neither address has a value of the template in it. Anything else is an error with its line.
3. a list of attributes (`{: #id .class width=300 }`) has those of a short list; others, such as those that
   handle events, are an error with its line.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from engine.errors import TemplateError, nearest
from engine.report.addresses import OF_AUTHORS, as_a_browser_reads, decoded, may_be_followed, scheme_of
from engine.report.escape import for_site
from engine.report.prose import VALUE, code_of, line_at, without_code, without_tags

ATTRIBUTES = ("class", "height", "id", "lang", "loading", "start", "title", "width")
_AUTOLINK = re.compile(r"<(?=https?://[^\s<>\"'`]+>|mailto:[^\s<>\"'`]+>)")
_LINK = re.compile(r"(?P<image>!\[[^\]\n]*)?\]\(\s*<?(?P<address>[^)\s>]*)")
_DEFINITION = re.compile(r"^[ \t>]*\[(?!\^)[^\]\n]+\]:\s*<?(?P<address>[^\s>]+)", re.MULTILINE)
# Nothing but a script is addressed by these, wherever Markdown may find an address. A browser leaves tabs and
# line ends out of an address, and reads on.
_SCRIPTS = "|".join("[\\t\\r\\n]*".join(f"{word}:") for word in ("javascript", "vbscript"))
_RUNS = re.compile(rf"(?:{_SCRIPTS})(?=\S)|\bdata:\w+/", re.IGNORECASE)
_UNSEEN_IN_A_LINE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff\\]")
_IN_ADDRESS = re.compile(rf"\]\([^)\n]*{VALUE}|^[ \t>]*\[(?!\^)[^\]\n]+\]:[^\n]*{VALUE}", re.MULTILINE)
_BRACES = re.compile(r"\{[^{}\n]*\}")
_KEY = re.compile(r"([^\s={}\"']+)\s*=")
_RAW_TAG = re.compile(r"\{%[-+]?\s*(?:end)?raw\s*[-+]?%\}")


def safe_source(source: str, where: str) -> str:
    """A template, as `template_source` gives it, without HTML of the author's own.

    TemplateError with file and line for an address or attribute that could run something.
    """
    tagless = without_tags(source, where)
    prose = without_code(tagless)
    for position, problem, expected, seen in _faults(prose):
        place = f"{where}:{line_at(prose, position)}"
        near = nearest(seen, ATTRIBUTES) if expected.startswith("one of") else ()
        raise TemplateError(problem, where=place, expected=expected, seen=seen[:80], near=near)
    if "<" not in tagless:
        return source
    changes = {place.start(): ("&lt;", 1) for place in re.finditer("<", prose)}
    for link in _AUTOLINK.finditer(prose):
        del changes[link.start()]
    for code in code_of(tagless):
        if "<" in code[0]:
            printed = printed_code(source[code.start() : code.end()])
            changes[code.start()] = (printed, code.end() - code.start())
    return _changed(source, changes)


_ACTIVE_SVG = re.compile(
    r"<\s*(?:[\w-]+:)?(?:script|foreignObject|iframe|animate|set|handler)\b|\son\w+\s*=|<!ENTITY|<\?xml-stylesheet"
    r"|@import|url\(\s*[\"']?(?!#|data:)|href\s*=\s*[\"'](?!#|data:image/(?:png|jpeg|gif);)",
    re.IGNORECASE,
)


def active_part(svg: bytes) -> str:
    """What would run, or be fetched, where a picture is opened by itself; empty where nothing would."""
    for encoding in ("utf-8", "utf-16"):  # a browser reads it by its mark
        found = _ACTIVE_SVG.search(html.unescape(svg.decode(encoding, errors="ignore")))
        if found:
            return found[0]
    return ""


def _changed(source: str, changes: dict[int, tuple[str, int]]) -> str:
    pieces = []
    at = 0
    for start in sorted(changes):
        if start < at:  # within a code that was printed whole
            continue
        text, length = changes[start]
        pieces += [source[at:start], text]
        at = start + length
    return "".join([*pieces, source[at:]])


def printed_code(code: str) -> str:
    """Code in backticks or fences as HTML that is the same wherever it stands, over as many lines."""
    code = _RAW_TAG.sub("", code)
    lines = code.count("\n")
    opening, _, inside = code.partition("\n")
    fence = re.match(r"[ \t>]*(`{3,}|~{3,})", opening)
    if not (fence and lines):
        ticks = re.match(r"`+", code)
        inner = code.strip("`") if ticks else code
        return f"<code>{for_site(' '.join(inner.split()))}</code>" + "\n" * lines
    body = re.sub(rf"\n?[ \t>]*{fence[1]}[`~]*[ \t]*\Z", "", inside)
    indent = opening[: len(opening) - len(opening.lstrip())]
    # In one line, with its line breaks as entities: Markdown would take a line by itself.
    text = "&#10;".join(for_site(line.removeprefix(indent)) for line in body.split("\n"))
    return f"{indent}<pre><code>{text}</code></pre>" + "\n" * lines


def _faults(prose: str) -> Iterator[tuple[int, str, str, str]]:
    """(position, problem, expected, seen) of what may not stand in a report."""
    # Once more without the signs of values: what they part is one word on the page where they print nothing.
    whole = re.sub(rf"{VALUE}[ ]*", "", prose)
    for text in (prose, whole):
        if runs := _RUNS.search(_decoded(text)):
            yield _line_end(text), "an address that runs", _expected(), runs[0]
    for link in [*_LINK.finditer(prose), *_DEFINITION.finditer(prose)]:
        address = as_a_browser_reads(link["address"])
        if not may_be_followed(address):
            yield link.start("address"), "an address that a report may not have", _expected(), link["address"]
        if link.groupdict().get("image") and (scheme_of(address) or address.startswith("//")):
            expected = "a file of the site: pages ask no other host for anything"
            yield link.start("address"), "an image from elsewhere", expected, link["address"]
    for found in _IN_ADDRESS.finditer(prose):
        yield found.start(), "a value in an address", "an address that is written out", found[0]
    for braces in _BRACES.finditer(prose):
        for key in _KEY.findall(braces[0]):
            if key.lower() not in ATTRIBUTES:
                expected = "one of " + ", ".join(ATTRIBUTES)
                yield braces.start(), "an attribute that a report may not set", expected, key
        if "#__" in braces[0]:
            yield braces.start(), "an id that the theme keeps for itself", "an id of its own", braces[0]


def _expected() -> str:
    return f"a page or file of the site, or an address with {', '.join(filter(None, OF_AUTHORS))}"


def _line_end(text: str) -> int:
    """Where the line ends up to which an address that runs is found: its own place is lost in decoding."""
    ends = [found.start() for found in re.finditer(r"\n|\Z", text)]
    return next((end for end in ends if _RUNS.search(_decoded(text[:end]))), 0)


def _decoded(text: str) -> str:
    return _UNSEEN_IN_A_LINE.sub("", decoded(text))
