"""A thread from its file to its posts: numbers injected, lengths counted, claims held to their verdicts.

`publications/<slug>/thread.md` is a header and posts, with a line of three or more dashes between two posts:

    ---
    title: Do two sparse autoencoders find the same features?
    numbered: true            # each post ends with its number, 2/7; true when left out
    draft: false
    ---
    Agreement of seeds is {{ sae-seed-stability.seeds_mid.pw_mcc }}.

    ---

    {% claim "sae-seed-stability.dictionaries-differ" %}Half of the features have none.{% endclaim %}
    {{ chart("sae-seed-stability.seeds_mid.curve") }}

Lines of a paragraph are joined, as in Markdown; an empty line stays, and so does the line break before a
list item. A post is plain text, up to 280 characters as X counts them, with up to four pictures.
`<investigations/sae-seed-stability/>` becomes the address of that page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.errors import TemplateError
from engine.publish.publications import Publication, print_publication
from engine.publish.threads.post_length import LIMIT, post_length
from engine.report.charts.pictures import with_title
from engine.report.claim_sentences import ClaimSentence, why
from engine.report.lint import Concern
from engine.report.printers.post import MARK, PostPrinter
from engine.runs.library import Library

MOST_IMAGES = 4
ALT_CHARACTERS = 1000
"""What X takes of a post's pictures, and of the text that describes one."""

_RULE = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.M)
_OWN_PAGE = re.compile(r"<((?:investigations|publications)/[^<>\s]*)>")
_LIST_ITEM = re.compile(r"(?:[-*•→]|\d+[.)])\s")
_PERCENT = re.compile(r"(?<=\d)[ \u00a0\u202f]+(?=%)")
_MARKDOWN = (
    (re.compile(r"\]\(\S+\)"), "a link as [words](address)", "the address itself: a post shows it"),
    (re.compile(r"^#{1,6} ", re.M), "a heading", "a sentence"),
    (re.compile(r"\*\*\S"), "**bold** text", "plain words"),
    (re.compile(r"`"), "`code`", "plain words"),
    (re.compile(r"<!--|</?[a-z][^<>]*>", re.I), "HTML", "plain text"),
)


@dataclass(frozen=True)
class PostImage:
    """A picture of a post: its file's name, what it shows in words, and what it is drawn from."""

    name: str
    alt: str
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Post:
    """One post as it is posted. `line` is where it begins in the file, `length` as X counts it."""

    number: int
    text: str
    line: int
    images: tuple[PostImage, ...] = ()
    claims: tuple[ClaimSentence, ...] = ()

    @property
    def length(self) -> int:
        return post_length(self.text)


@dataclass(frozen=True)
class Thread:
    """A thread whose posts can be posted: none is too long, and none says what the evidence does not."""

    publication: Publication
    title: str
    posts: tuple[Post, ...]
    concerns: tuple[Concern, ...] = ()  # open claims, and what lint finds


def print_thread(publication: Publication, library: Library, address: str = "") -> Thread:
    """The posts of a thread, printed from the ledgers of its investigations.

    `address` is that of the site, with a slash at its end, where it has one that a reader can follow.
    TemplateError with file, line and post for a sentence that the evidence contradicts or that nothing was
    measured for, for posts that are too long (which, and by how much), empty or more than text and pictures,
    and for all that `print_publication` refuses.
    """
    is_numbered = _is_numbered(publication)
    # The list of references, which a report has at its end, is asked for here, where it prints as nothing.
    text = publication.text + "\n{{ references() }}\n"
    printer = PostPrinter()
    printed = print_publication(replace(publication, text=text), library, printer)
    # No data can make a rule: a line break in it is printed as a sign.
    pieces = _RULE.split(printed.text)
    lines = _first_lines(publication.text, len(pieces))
    posts = [
        _post(number, _with_addresses(piece, address), line, printer, publication)
        for number, (piece, line) in enumerate(zip(pieces, lines, strict=True), start=1)
    ]
    _refuse_broken(posts, publication)
    if is_numbered:
        posts = [replace(post, text=f"{post.text}\n\n{post.number}/{len(posts)}") for post in posts]
    _refuse_too_long(posts, publication)
    # What is broken has been refused.
    concerns = tuple(concern for concern in printed.concerns if concern.kind != "broken-sentence")
    title = printed.header.get("title", publication.slug)
    return Thread(publication, MARK.sub("", title), tuple(posts), concerns)


def _is_numbered(publication: Publication) -> bool:
    written = publication.header.value.get("numbered", True)
    if isinstance(written, bool):
        return written
    where = publication.header.where(("numbered",))
    raise TemplateError("numbered is yes or no", where=where, expected="true or false", seen=str(written))


def _first_lines(text: str, posts: int) -> list[int]:
    """The line of the file that each post begins on.

    A rule in a loop makes several posts, of which the later ones are told by the last line that is known.
    """
    starts = [0, *(found.end() for found in _RULE.finditer(text))]
    lines = []
    for start in starts:
        blank = len(text[start:]) - len(text[start:].lstrip())
        lines.append(text.count("\n", 0, start + blank) + 1)
    return (lines + [lines[-1]] * posts)[:posts]


def _post(number: int, piece: str, line: int, printer: PostPrinter, publication: Publication) -> Post:
    where = f"{publication.path}:{line}"
    marks = [(kind, int(index)) for kind, index in MARK.findall(piece)]
    text = _flowing(MARK.sub("", piece))
    for pattern, what, instead in _MARKDOWN:
        if found := pattern.search(text):
            seen = text[max(0, found.start() - 30) : found.end() + 30]
            problem = f"post {number} has {what}, which a post would show as it is typed"
            raise TemplateError(problem, where=where, expected=instead, seen=seen)
    charts = [printer.charts[index] for kind, index in marks if kind == "chart"]
    if not (text or charts):
        raise TemplateError(f"post {number} is empty", where=where, expected="text between two rules")
    if len(charts) > MOST_IMAGES:
        problem = f"post {number} has {len(charts)} pictures"
        raise TemplateError(problem, where=where, expected=f"at most {MOST_IMAGES}")
    images = [
        PostImage(
            f"{number:02}-{place}.png",
            short_alt(each.chart.alt),
            with_title(each.chart.spec, each.title, each.chart.sampled),
        )
        for place, each in enumerate(charts, start=1)
    ]
    claims = [printer.claims[index] for kind, index in marks if kind == "claim"]
    return Post(number, text, line, tuple(images), tuple(claims))


def _with_addresses(piece: str, address: str) -> str:
    """`<investigations/slug/>` as the page's whole address; as the folder where the site has no address."""
    return _OWN_PAGE.sub(lambda page: f"{address}{page[1]}", piece)


def _flowing(piece: str) -> str:
    """Paragraphs on one line each, list items on lines of their own, no space before a per cent sign."""
    paragraphs = [_joined(lines.split("\n")) for lines in re.split(r"\n[ \t]*\n", piece.strip())]
    return _PERCENT.sub("", "\n\n".join(filter(None, paragraphs)))


def _joined(lines: Sequence[str]) -> str:
    joined: list[str] = []
    for line in (" ".join(line.split()) for line in lines):
        if joined and line and not _LIST_ITEM.match(line):
            joined[-1] = f"{joined[-1]} {line}"
        elif line:
            joined.append(line)
    return "\n".join(joined)


def short_alt(text: str) -> str:
    """As much of a description as X takes, cut after a sentence."""
    if len(text) <= ALT_CHARACTERS:
        return text
    kept = text[:ALT_CHARACTERS]
    end = max(kept.rfind(". "), kept.rfind("; "))
    return kept[: end + 1] if end > 0 else kept


def _refuse_broken(posts: Sequence[Post], publication: Publication) -> None:
    """TemplateError for sentences that the evidence contradicts, or for which there is none."""
    broken = [(post, cited) for post in posts for cited in post.claims if _is_refused(cited)]
    if not broken:
        return
    first = broken[0][0]
    told = [
        f"post {post.number}: the sentence says that {cited.id!r} is {cited.asserted}, "
        f"measured {_verdict(cited)}"
        for post, cited in broken
    ]
    raise TemplateError(
        f"post {first.number} says what the evidence does not",
        where=f"{publication.path}:{first.line}",
        expected="a sentence for the verdict that was measured, and that verdict in its claim tag",
        seen="\n        ".join(told),
        hint=_mending(broken[0][1]),
    )


def _is_refused(cited: ClaimSentence) -> bool:
    verdict = cited.verdict.verdict
    return cited.is_broken or (verdict == "unmeasured" and cited.asserted != "unmeasured")


def _verdict(cited: ClaimSentence) -> str:
    more = why(cited.verdict)
    return f"{cited.verdict.verdict}: {more}" if more else cited.verdict.verdict


def _mending(cited: ClaimSentence) -> str:
    if cited.verdict.verdict == "unmeasured":
        return f"engine run --name {cited.id.partition('.')[0]}/EXPERIMENT"
    return f'{{% claim "{cited.id}", "{cited.verdict.verdict}" %}}...{{% endclaim %}}'


def _refuse_too_long(posts: Sequence[Post], publication: Publication) -> None:
    long = [post for post in posts if post.length > LIMIT]
    if not long:
        return
    first = long[0]
    count = f"post {first.number} is" if len(long) == 1 else f"{len(long)} posts are"
    told = [
        f"post {post.number} (line {post.line}): {post.length} characters, {post.length - LIMIT} too many; "
        f"they end at {_end_of_limit(post.text)!r}"
        for post in long
    ]
    raise TemplateError(
        f"{count} too long",
        where=f"{publication.path}:{first.line}",
        expected=f"at most {LIMIT} characters, a link counted as 23, as X counts them",
        seen="\n        ".join(told),
    )


def _end_of_limit(text: str) -> str:
    """The last words that fit."""
    fits = next(_prefixes(text))
    return "..." + fits[-40:]


def _prefixes(text: str) -> Iterator[str]:
    """What of a text fits, the longest first."""
    for end in range(len(text), -1, -1):
        if post_length(text[:end]) <= LIMIT:
            yield text[:end]
