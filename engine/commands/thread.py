"""`engine thread`: drafts of threads from the evidence, and threads as posts to be posted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.arguments import current_plan
from engine.commands.console import Output, near_here
from engine.commands.options import Json
from engine.commands.publication_list import publication_list
from engine.commands.reports import assemble_library, ledgers_of
from engine.publish.publications import find_publication, investigations_of
from engine.publish.site_settings import site_settings
from engine.publish.threads.post_length import LIMIT
from engine.publish.threads.thread import Thread, print_thread
from engine.publish.threads.thread_draft import write_thread_draft
from engine.publish.threads.thread_files import write_thread
from engine.report.charts.pictures import PictureCache
from engine.runs.investigation import find_root, spec_paths
from engine.runs.store.store import FOLDER

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def thread(context: typer.Context, json: Json = False) -> Output | None:
    """Draft threads from the evidence, build them as posts with pictures, and list them.

    \b
    Example:
      engine thread build fact-recall
    """
    if context.invoked_subcommand is not None:
        return None
    return publication_list("thread", json)


@app.command("new")
def thread_new(
    sources: Annotated[
        list[str], typer.Option("--from", metavar="SLUG", help="An investigation; may be repeated.")
    ],
    slug: Annotated[str, typer.Option(help="The thread's folder; the investigation's by default.")] = "",
    json: Json = False,
) -> Output:
    """Write the first draft of a thread from the headline and the supported claims of investigations.

    \b
    Example:
      engine thread new --from fact-recall
    """
    root = find_root()
    written = write_thread_draft(root, slug or sources[0], ledgers_of(root, sources))
    name = str(written.relative_to(root))
    after = f"it builds as it stands: engine thread build {written.parent.name}"
    return Output([f"wrote {name}", after], {"file": name}, json)


@app.command("build")
def thread_build(
    slug: Annotated[str, typer.Argument(help="The thread: a folder of publications/.")],
    out: Annotated[Path | None, typer.Option(help="Where to; build/SLUG-thread by default.")] = None,
    json: Json = False,
) -> Output:
    """Print a thread's posts with their numbers, and write them as text files with their pictures.

    Stops where a sentence says what the evidence does not, or a post is too long. Exits 1 where something
    else needs a person.

    \b
    Example:
      engine thread build fact-recall --out posts
    """
    root = find_root()
    publication = find_publication(root, slug, "thread")
    with current_plan(root, investigations_of(publication, spec_paths(root))) as (store, plan):
        library = assemble_library(plan, store)
    made = print_thread(publication, library, site_settings(root).address)
    folder = out or root / "build" / f"{slug}-thread"
    pictures = PictureCache(root / FOLDER)
    written = write_thread(made, folder, pictures)
    near = near_here(folder)
    text = [*posts_text(made), f"wrote {len(written)} files to {near}"]
    text += [f"needs a person: {c.kind} {c.where}: {c.message}" for c in made.concerns]
    return Output(text, thread_data(made, near), json, exit_status=1 if made.concerns else 0)


def posts_text(made: Thread) -> list[str]:
    """The posts for a terminal, each with its length and its pictures in words."""
    lines = []
    for post in made.posts:
        lines.append(f"--- {post.number} of {len(made.posts)}: {post.length} of {LIMIT} characters\n")
        lines.append(f"{post.text}\n")
        lines += [f"[{image.name}] {image.alt}\n" for image in post.images]
    return lines


def thread_data(made: Thread, folder: Path) -> dict:
    posts = [
        {
            "number": post.number,
            "text": post.text,
            "length": post.length,
            "claims": [cited.id for cited in post.claims],
            "images": [{"file": str(folder / image.name), "alt": image.alt} for image in post.images],
        }
        for post in made.posts
    ]
    return {
        "slug": made.publication.slug,
        "title": made.title,
        "draft": made.publication.is_draft,
        "posts": posts,
        "concerns": list(made.concerns),
    }
