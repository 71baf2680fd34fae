"""The draft of a thread: from headline and supported claims, with controls, and fit to be built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.publish.publications import read_publication
from engine.publish.threads.post_length import LIMIT
from engine.publish.threads.thread import Thread, print_thread
from engine.publish.threads.thread_draft import write_thread_draft
from engine.runs.ledger import Ledger
from engine.runs.library import Library
from engine.spec.models import Assumption
from tests.publish import made_up


def drafted(root: Path, ledger: Ledger) -> tuple[str, Thread]:
    made_up.report(root, ledger.slug)
    path = write_thread_draft(root, ledger.slug, [ledger])
    thread = print_thread(read_publication(path, "thread"), Library({ledger.slug: ledger}), "https://a.org/")
    return path.read_text(), thread


def test_it_says_the_headline_and_what_is_supported_and_builds(tmp_path: Path) -> None:
    untested = [Assumption(text="Prompts of 12 kinds are all there are.", stressed_by=[])]
    ledger = made_up.ledger()
    ledger = replace(ledger, spec=ledger.spec.model_copy(update={"assumptions": untested}))
    text, thread = drafted(tmp_path, ledger)
    posts = [post.text for post in thread.posts]
    assert posts[0].startswith("The rank of the answer falls to 13 on 120 prompts.")
    assert posts[1].startswith("The answer rises\n\n- final rank: 13 (95% CI 9 to 16)\n- ")
    assert "- control, other rank: 375 (95% CI 350 to 401)" in posts[1]
    assert posts[2].startswith("Not tested here: Prompts of 12 kinds")
    assert posts[3].startswith("Report, notebook and data: https://a.org/investigations/fact-recall/")
    assert len(posts) == 4 and "mostly-known" not in text and "heads-write" not in text
    assert [len(post.images) for post in thread.posts] == [1, 0, 0, 0]
    assert not thread.concerns and thread.publication.is_draft


def test_a_headline_that_is_too_long_is_told_in_several_posts(tmp_path: Path) -> None:
    ledger = made_up.ledger()
    headline = "The rank falls to {{ lens.final_rank }}, " + "and so on " * 15 + ". " + "More of it. " * 14
    ledger = replace(ledger, spec=ledger.spec.model_copy(update={"headline": headline}))
    _, thread = drafted(tmp_path, ledger)
    assert thread.posts[0].text.startswith("The rank falls to 13, and so on")
    assert "More of it." in thread.posts[1].text
    assert all(post.length <= LIMIT for post in thread.posts)


def test_no_thread_is_overwritten(tmp_path: Path) -> None:
    ledger = made_up.ledger()
    drafted(tmp_path, ledger)
    with pytest.raises(EngineError, match="there is a thread of this name"):
        write_thread_draft(tmp_path, ledger.slug, [ledger])
    with pytest.raises(EngineError, match="no name of a folder"):
        write_thread_draft(tmp_path, "../elsewhere", [ledger])
