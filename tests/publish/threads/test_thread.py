"""Posts of a thread: cut, flowing, numbered, within their length, and never saying what was not found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import TemplateError
from engine.publish.publications import read_publication
from engine.publish.threads.thread import ALT_CHARACTERS, Thread, print_thread, short_alt
from engine.runs.library import Library
from tests.publish import made_up

HEADER = "---\ntitle: Facts\n---\n"


@pytest.fixture
def library() -> Library:
    ledger = made_up.ledger()
    return Library({"made-up": ledger, "again": replace(ledger, slug="again")})


def thread(root: Path, library: Library, text: str, header: str = HEADER) -> Thread:
    path = root / "publications/facts/thread.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + text, encoding="utf-8")
    return print_thread(read_publication(path, "thread"), library)


def texts(made: Thread) -> list[str]:
    return [post.text for post in made.posts]


def test_posts_are_cut_at_rules_and_numbered(tmp_path: Path, library: Library) -> None:
    made = thread(tmp_path, library, "One.\n\n---\n\nTwo,\nstill two.\n\nA paragraph.\n\n-----\nThree.\n")
    assert texts(made) == ["One.\n\n1/3", "Two, still two.\n\nA paragraph.\n\n2/3", "Three.\n\n3/3"]
    assert [(post.number, post.line) for post in made.posts] == [(1, 4), (2, 8), (3, 14)]
    plain = HEADER.replace("title", "numbered: false\ntitle")
    assert texts(thread(tmp_path, library, "One.\n\n---\nTwo.", plain)) == ["One.", "Two."]


def test_numbers_are_plain_text_with_an_interval_where_it_is_asked_for(
    tmp_path: Path, library: Library
) -> None:
    text = (
        "The rank falls to {{ made-up.lens.final_rank }} ({{ made-up.lens.final_rank.interval }}) from "
        "{{ again.lens.other_rank }}; {{ made-up.lens.share_known | percent }} are known "
        "(95 % CI {{ (made-up.lens.share_known | percent).interval }})."
    )
    (post,) = thread(tmp_path, library, text).posts
    assert post.text == ("The rank falls to 13 (9 to 16) from 375; 75% are known (95% CI 71% to 79%).\n\n1/1")


def test_list_items_keep_their_lines(tmp_path: Path, library: Library) -> None:
    (post,) = thread(tmp_path, library, "Controls:\n- another\n  answer\n- a random site\n").posts
    assert post.text == "Controls:\n- another answer\n- a random site\n\n1/1"


def test_a_chart_becomes_a_picture_with_its_words_of_the_post_that_it_stands_in(
    tmp_path: Path, library: Library
) -> None:
    text = 'One.\n\n---\n\n{{ chart("made-up.lens.by_layer") }}\nTwo.\n{{ chart("made-up.patch.grid") }}\n'
    one, two = thread(tmp_path, library, text).posts
    assert one.images == () and two.text == "Two.\n\n2/2"
    assert [image.name for image in two.images] == ["02-1.png", "02-2.png"]
    assert two.images[0].alt.startswith("Rank of the answer by layer.")
    assert two.images[0].spec["title"]["text"] == ["Rank of the answer by layer"]


def test_a_description_is_cut_after_a_sentence_where_it_is_too_long() -> None:
    assert short_alt("Short.") == "Short."
    cut = short_alt("A sentence of some words. " * 60)
    assert 900 < len(cut) <= ALT_CHARACTERS and cut.endswith("words.")


def test_a_sentence_that_the_evidence_contradicts_stops_the_thread(tmp_path: Path, library: Library) -> None:
    text = 'One.\n\n---\n\n{% claim "made-up.mostly-known" %}It knows nearly all facts.{% endclaim %}\n'
    with pytest.raises(TemplateError) as caught:
        thread(tmp_path, library, text)
    told = str(caught.value)
    assert "thread.md:8: post 2 says what the evidence does not" in told
    assert "'made-up.mostly-known' is supported, measured contradicted: holds in 0.1 % of replicates" in told
    assert 'try: {% claim "made-up.mostly-known", "contradicted" %}' in told


def test_a_contradicted_claim_that_is_told_as_such_is_a_result(tmp_path: Path, library: Library) -> None:
    text = '{% claim "made-up.mostly-known", "contradicted" %}It does not know them all.{% endclaim %}'
    (post,) = thread(tmp_path, library, text).posts
    assert post.text.startswith("It does not know them all.")
    assert [cited.id for cited in post.claims] == ["made-up.mostly-known"]


def test_an_open_claim_says_so_and_needs_a_person(tmp_path: Path, library: Library) -> None:
    text = '{% claim "made-up.heads-write" %}Heads write it.{% endclaim %}'
    made = thread(tmp_path, library, text)
    assert made.posts[0].text.startswith("Heads write it. [undetermined]")
    assert [concern.kind for concern in made.concerns] == ["undecided-sentence"]


def test_what_was_not_measured_cannot_be_posted(tmp_path: Path, library: Library) -> None:
    ledger = library.ledgers["made-up"]
    none = replace(ledger, verdicts={"tiny-llama": ledger.verdicts["far-away"]})
    text = '{% claim "made-up.rank-falls" %}It rises.{% endclaim %}'
    with pytest.raises(TemplateError, match="measured unmeasured: the hub cannot be reached"):
        thread(tmp_path, Library({"made-up": none}), text)
    number = 'On far-away {{ number("made-up.lens.final_rank", model="far-away") }}.'
    with pytest.raises(TemplateError, match=r"thread.md:4: a post cannot print made-up.lens.final_rank"):
        thread(tmp_path, library, number)
    chart = '{{ chart("made-up.lens.by_layer", model="far-away") }}'
    with pytest.raises(TemplateError, match="what a post shows is not there"):
        thread(tmp_path, library, chart)


def test_posts_that_are_too_long_are_told_with_how_much(tmp_path: Path, library: Library) -> None:
    text = f"Short.\n\n---\n{'word ' * 60}\n\n---\nShort.\n\n---\n{'漢' * 150}"
    with pytest.raises(TemplateError) as caught:
        thread(tmp_path, library, text)
    told = str(caught.value)
    assert "thread.md:7: 2 posts are too long" in told
    assert "post 2 (line 7): 304 characters, 24 too many; they end at '..." in told
    assert "post 4 (line 13): 305 characters, 25 too many" in told


def test_a_link_counts_23_and_a_post_of_280_fits(tmp_path: Path, library: Library) -> None:
    link = "https://example.org/" + "a" * 300
    (post,) = thread(tmp_path, library, f"{'b' * 251} {link}").posts
    assert post.length == 251 + 1 + 23 + 5 == 280
    with pytest.raises(TemplateError, match="post 1 is too long"):
        thread(tmp_path, library, f"{'b' * 252} {link}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("One.\n\n---\n\n---\nThree.", "post 2 is empty"),
        ("See [the report](https://example.org).", r"a link as \[words\]"),
        ("# A heading", "a heading"),
        ("It is **bold**.", "bold"),
        ("The number `lens`.", "`code`"),
        ("<b>It</b> is.", "HTML"),
        ("It is $x^2$.", "seen: a formula"),
        ('{{ table("made-up.lens.per_prompt") }}', "a post is text and pictures"),
        ('{{ how_measured("made-up") }}', "a post is text and pictures"),
        ('{{ chart("made-up.lens.by_laye") }}', "nearest: by_layer"),
        ('{% claim "made-up.rank-fall" %}It.{% endclaim %}', "nearest: rank-falls"),
        ("{{ made-up.lens.final_rnk }}", "nearest: final_rank"),
        ('{{ chart("made-up.lens.by_layer") }}' * 5, "post 1 has 5 pictures"),
    ],
)
def test_what_no_post_can_hold_is_refused(tmp_path: Path, library: Library, text: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        thread(tmp_path, library, text)


def test_a_citation_is_the_address_of_the_work(tmp_path: Path, library: Library) -> None:
    path = tmp_path / "publications/facts/references.bib"
    path.parent.mkdir(parents=True)
    path.write_text(
        "@article{doe, author = {Doe, Jane}, title = {On ranks}, year = {2024}, url = {https://a.org/b}}\n"
    )
    (post,) = thread(tmp_path, library, "As found before: [@doe]").posts
    assert post.text == "As found before: (https://a.org/b)\n\n1/1"


def test_data_cannot_cut_a_thread(tmp_path: Path, library: Library) -> None:
    made = thread(tmp_path, library, '{{ literal("a\\n---\\nb") }} and {{ literal("x\\x1fclaim 0\\x1fy") }}')
    assert [post.text for post in made.posts] == ["a⏎---⏎b and x\ufffdclaim 0\ufffdy\n\n1/1"]
