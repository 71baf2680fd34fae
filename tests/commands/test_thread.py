"""`engine thread`: drafted from a project that was measured, built as files, stopped where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_draft_is_written_built_and_listed(engine: Any, project: Path) -> None:
    assert "engine thread new" in engine("thread").out
    assert engine("run", "--name", "planted/lens").code == 0
    answer = engine("thread", "new", "--from", "planted")
    assert answer.code == 0 and "wrote publications/planted/thread.md" in answer.out
    built = engine("thread", "build", "planted")
    assert built.code == 0, built.err
    assert "--- 1 of 3:" in built.out and "The answer is settled after" in built.out
    folder = project / "build/planted-thread"
    assert (folder / "01.txt").read_text().rstrip().endswith("1/3")
    assert (folder / "01-1.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "01-1.alt.txt").read_text() in built.out.replace("\n\n", "\n")
    assert (folder / "thread.txt").read_text().count("\n\n\n") == 2
    listed = engine("thread", "--json").json
    assert [(each["slug"], each["draft"]) for each in listed] == [("planted", True)]


def test_a_shorter_thread_leaves_no_old_posts_and_nothing_else_is_touched(
    engine: Any, project: Path, tmp_path: Path
) -> None:
    thread = project / "publications/planted/thread.md"
    thread.parent.mkdir(parents=True)
    thread.write_text("---\ntitle: Two\n---\nOne.\n\n---\n\nTwo.\n")
    out = tmp_path / "posts"
    assert engine("thread", "build", "planted", "--out", str(out)).code == 0
    (out / "notes.txt").write_text("mine")
    thread.write_text("---\ntitle: One\nnumbered: false\n---\nOne.\n")
    answer = engine("thread", "build", "planted", "--out", str(out), "--json")
    assert sorted(path.name for path in out.iterdir()) == ["01.txt", "notes.txt", "thread.txt"]
    assert [post["text"] for post in answer.json["posts"]] == ["One."]


def test_what_the_evidence_does_not_say_stops_it(engine: Any, project: Path) -> None:
    assert engine("run", "--name", "planted/lens").code == 0
    thread = project / "publications/planted/thread.md"
    thread.parent.mkdir(parents=True)
    head = "---\ntitle: Wrong\n---\n"
    thread.write_text(f'{head}{{% claim "planted.found-at-once" %}}It is there at once.{{% endclaim %}}\n')
    answer = engine("thread", "build", "planted")
    assert answer.code == 2 and not (project / "build").exists()
    assert "post 1 says what the evidence does not" in answer.err
    assert "'planted.found-at-once' is supported, measured contradicted" in answer.err
    thread.write_text(f"{head}{'word ' * 70}\n")
    answer = engine("thread", "build", "planted")
    assert answer.code == 2 and "post 1 is too long" in answer.err and "74 too many" in answer.err


def test_an_unknown_thread_or_investigation_is_told_with_the_nearest(engine: Any, project: Path) -> None:
    thread = project / "publications/planted/thread.md"
    thread.parent.mkdir(parents=True)
    thread.write_text("---\ntitle: One\n---\nOne.\n")
    assert "nearest: planted" in engine("thread", "build", "plantd").err
    assert "nearest: planted" in engine("thread", "new", "--from", "plantd").err
    assert engine("thread", "new", "--from", "planted").code == 2
