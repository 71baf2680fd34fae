"""The papers or threads of a project, as `engine paper` and `engine thread` list them."""

from __future__ import annotations

from engine.commands.console import Output, TextTable
from engine.publish.publications import PublicationKind, find_publications
from engine.runs.investigation import find_root


def publication_list(kind: PublicationKind, json: bool) -> Output:
    """A row for each publication of a kind; where there is none, how to draft the first."""
    found = find_publications(find_root(), kind)
    if not found:
        return Output([f"there is no {kind} yet; engine {kind} new --from SLUG drafts one"], [], json)
    shown = [(each.slug, "draft" if each.is_draft else "", each.title) for each in found]
    rows = [
        {
            "slug": each.slug,
            "draft": each.is_draft,
            "title": each.title,
            "authors": [author.name for author in each.authors],
        }
        for each in found
    ]
    return Output([TextTable([kind, "", "title"], shown)], rows, json)
