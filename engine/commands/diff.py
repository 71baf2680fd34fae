"""`engine diff`: what moved between measured and published numbers, two revisions, or two runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
import yaml

from engine.commands.arguments import current_plan
from engine.commands.console import Output
from engine.commands.diff_text import InvestigationDiff, diff_markdown, diff_text, fresh_text
from engine.commands.options import Json
from engine.errors import EngineError, StoreError, nearest
from engine.publish.publications import find_publications
from engine.report.affected_sentences import AffectedSentence, affected_sentences, texts_of
from engine.runs.assemble import assemble, stored_entry
from engine.runs.investigation import find_root, spec_paths
from engine.runs.ledger import Ledger
from engine.runs.published.changes import (
    EvidenceChanges,
    EvidenceState,
    changes_between,
    changes_since_published,
    entry_state,
    measured_state,
    published_state,
)
from engine.runs.published.read import read_published
from engine.runs.published.revisions import find_commit, read_out, slugs_at
from engine.runs.store.record import StoredRun
from engine.runs.store.store import open_store

PUBLISHED = "published"
FRESH = "fresh"
WORDS = (PUBLISHED, FRESH)

app = typer.Typer(add_completion=False)

Named = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[A [B]] [SLUG]...",
        help="Two sides, each a git revision, 'published' or 'fresh' (measured here), or two runs by id; "
        "then investigations. Without sides what was measured here is compared with what is published.",
    ),
]


@app.command()
def diff(
    named: Named = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it for a pull request.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every row; forty by default.")] = False,
    json: Json = False,
) -> Output:
    """Tell what moved: numbers with their intervals, verdicts that flipped, sentences that rest on either.

    Of one revision alone: against what is published now. Exits 1 where a person should look: a number whose
    interval excludes the other side, or a verdict that flipped; and 0 where what moved stays within that.

    \b
    Example:
      engine diff HEAD~5 fact-recall
    """
    root = find_root()
    sides, slugs = _parted(root, named or [])
    if sides and all(side.isdigit() for side in sides):
        return _diff_of_runs(root, sides, slugs, markdown, everything, json)
    if set(sides) <= {*WORDS} and len(sides) != 1:
        _refuse_the_same(sides)
        if sides != [FRESH, PUBLISHED]:
            return _fresh_against_published(root, slugs, markdown, everything, json)
    before, after = (*sides, PUBLISHED)[:2] if sides else (PUBLISHED, FRESH)
    _refuse_the_same([before, after])
    with ExitStack() as closing:
        left = _side(root, before, slugs, closing)
        right = _side(root, after, slugs, closing)
        chosen = slugs or sorted(left.slugs.keys() | right.slugs.keys())
        diffs = [_compared(root, left, right, slug) for slug in chosen]
    return _output(f"{left.name} to {right.name}", diffs, markdown, everything, json)


def _output(
    title: str, diffs: Sequence[InvestigationDiff], markdown: bool, everything: bool, json: bool
) -> Output:
    text = [diff_markdown(title, diffs, everything)] if markdown else diff_text(title, diffs, everything)
    data = {"sides": title, "investigations": [_data(each) for each in diffs]}
    return Output(text, data, json, exit_status=1 if any(each.needs_a_person for each in diffs) else 0)


def _data(each: InvestigationDiff) -> dict[str, Any]:
    return {"slug": each.slug, **vars(each.changes), "sentences": list(each.sentences)}


def _fresh_against_published(
    root: Path, slugs: Sequence[str], markdown: bool, everything: bool, json: bool
) -> Output:
    """What was measured here beside what is published, and what was published beside its own run."""
    with current_plan(root, slugs) as (store, plan):
        ledgers = [assemble(investigation, store, plan) for investigation in plan.investigations.values()]
    diffs = []
    for ledger in ledgers:
        changes = changes_since_published(ledger)
        folder = root / "investigations" / ledger.slug
        sentences, untold = sentences_affected(root, folder, ledger.slug, changes)
        diffs.append(InvestigationDiff(ledger.slug, changes, tuple(sentences), tuple(untold)))
    text = [diff_markdown("published to measured here", diffs, everything)]
    if not markdown:
        text = fresh_text(ledgers, [sentence for each in diffs for sentence in each.sentences])
    differing = [d for ledger in ledgers for fault in ledger.faults for d in fault.differences]
    data = {
        "sides": "published to measured here",
        "numbers": [comparison for ledger in ledgers for comparison in ledger.comparisons],
        "not_its_run": differing,
        "verdicts": [difference for ledger in ledgers for difference in ledger.changed_verdicts],
        "sentences": [sentence for each in diffs for sentence in each.sentences],
    }
    drifted = any(ledger.drifted or ledger.changed_verdicts for ledger in ledgers)
    return Output(text, data, json, exit_status=1 if drifted or differing else 0)


# sides


@dataclass(frozen=True)
class _Side:
    """One side of a comparison: its name, and the folder or ledger of each of its investigations."""

    name: str
    slugs: dict[str, Path]
    ledgers: dict[str, Ledger]

    def state(self, slug: str) -> EvidenceState:
        if slug in self.ledgers:
            return measured_state(self.ledgers[slug])
        if slug not in self.slugs:
            return EvidenceState()
        folder = self.slugs[slug]
        try:
            return published_state(read_published(folder / "published"))
        except StoreError as error:
            # What was read out of a revision lies where nobody looks for it.
            where = error.where.replace(str(folder), f"{self.name}: investigations/{slug}")
            raise StoreError(error.problem, where=where, seen=error.seen, hint=error.hint) from None


def _parted(root: Path, named: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sides (at most two) and the slugs among what was typed; a branch called like a slug is no side."""
    known = spec_paths(root)
    sides = []
    rest = list(named)
    while rest and rest[0] not in known and len(sides) < 2:
        sides.append(rest.pop(0))
    return sides, list(dict.fromkeys(rest))


def _refuse_the_same(sides: Sequence[str]) -> None:
    if len(sides) == 2 and sides[0] == sides[1]:
        raise EngineError(
            f"{sides[0]!r} is compared with itself", expected="two sides that differ", seen=" ".join(sides)
        )


def _side(root: Path, name: str, slugs: Sequence[str], closing: ExitStack) -> _Side:
    """A side by its name, with the named investigations, which it must have, or all that it has."""
    here = {slug: path.parent for slug, path in spec_paths(root).items()}
    if name == PUBLISHED:
        _require(slugs, here, "the project")
        return _Side(name, {slug: here[slug] for slug in slugs or here}, {})
    if name == FRESH:
        _require(slugs, here, "the project")
        with current_plan(root, slugs) as (store, plan):
            ledgers = {slug: assemble(i, store, plan) for slug, i in plan.investigations.items()}
        return _Side(name, {slug: here[slug] for slug in ledgers}, ledgers)
    try:
        commit = find_commit(root, name)
    except EngineError as error:
        # Where there are no revisions at all a misspelt investigation is the likelier mistake.
        near = nearest(name, [*here, *WORDS])
        raise EngineError(
            error.problem, where=error.where, seen=error.seen, near=near, hint=error.hint
        ) from None
    if commit is None:
        raise _unknown(name, here)
    files = slugs_at(root, commit)
    label = f"{name} ({commit.revision})" if not commit.revision.startswith(name) else name
    _require(slugs, files, f"revision {label}")
    into = Path(closing.enter_context(TemporaryDirectory(prefix="engine-diff-")))
    folders = {slug: read_out(root, commit, slug, files[slug], into) for slug in slugs or files}
    return _Side(label, folders, {})


def _require(slugs: Sequence[str], known: dict[str, Any], whose: str) -> None:
    for slug in slugs:
        if slug not in known:
            raise EngineError(
                f"{whose} has no investigation {slug!r}",
                expected="one of " + (", ".join(sorted(known)) or "none: it has no investigation"),
                near=nearest(slug, known),
            )


def _unknown(name: str, slugs: dict[str, Path]) -> EngineError:
    return EngineError(
        f"no investigation and no revision is called {name!r}",
        expected="a revision of git (HEAD~3, a branch, a hash), 'published', 'fresh', an investigation, or "
        "two runs by id",
        seen=name,
        near=nearest(name, [*slugs, *WORDS]),
    )


# revisions


def _compared(root: Path, left: _Side, right: _Side, slug: str) -> InvestigationDiff:
    changes = changes_between(left.state(slug), right.state(slug))
    # The text that the reader has: that of the later side, or of the earlier one where it went.
    folder = right.slugs.get(slug) or left.slugs[slug]
    sentences, untold = sentences_affected(root, folder, slug, changes)
    return InvestigationDiff(slug, changes, tuple(sentences), tuple(untold))


def sentences_affected(
    root: Path, folder: Path, slug: str, changes: EvidenceChanges
) -> tuple[list[AffectedSentence], list[str]]:
    """The sentences of a report and of publications that rest on what moved; and what cannot be searched.

    The report lies in `folder`; publications are taken as they lie in the project.
    """
    if changes.is_empty:
        return [], []
    spec = _written_spec(folder / "spec.yaml")
    primary = _primary(spec)
    found: list[AffectedSentence] = []
    untold: list[str] = []
    texts = [(text, where, "") for text, where in texts_of(folder, slug, spec)]
    try:
        texts += [(text, where, slug) for text, where in _published_texts(root)]
    except EngineError as error:
        untold.append(
            f"publications are not searched: {error.where.replace(f'{root}/', '')}: {error.problem}"
        )
    for text, where, prefix in texts:
        try:
            found += affected_sentences(text, where, changes, primary, prefix)
        except EngineError as error:
            untold.append(f"the sentences of {where} are not searched: {error.problem}")
    return found, untold


def _published_texts(root: Path) -> Iterator[tuple[str, str]]:
    """(text, place) of every paper and thread, with the texts of its header."""
    for publication in find_publications(root):
        place = publication.path.relative_to(root).as_posix()
        yield publication.text, place
        yield from ((text, f"{place}, {key}") for key, (text, _) in publication.header_texts().items())


def _written_spec(path: Path) -> dict[str, Any]:
    """A spec as it is written, without judging it: an old one may say what no spec may say today."""
    try:
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    return spec if isinstance(spec, dict) else {}


def _primary(spec: dict[str, Any]) -> str:
    models = spec.get("models") or [spec.get("model", "")]
    return str(models[0]) if isinstance(models, list) and models else ""


# runs


def _diff_of_runs(
    root: Path, ids: Sequence[str], slugs: Sequence[str], markdown: bool, everything: bool, json: bool
) -> Output:
    if len(ids) != 2 or slugs:
        seen = " ".join([*ids, *slugs])
        raise EngineError("runs are compared two at a time", expected="engine diff RUN RUN", seen=seen)
    _refuse_the_same(ids)
    with open_store(root) as store:
        first, second = (store.run(int(id)) for id in ids)
        _require_one_experiment(first, second)
        # Under one model's name: which model each was measured on stands in the title.
        states = [entry_state(stored_entry(store, run), first.name.model) for run in (first, second)]
    changes = changes_between(*states)
    slug = first.name.slug
    folder = root / "investigations" / slug
    sentences, untold = sentences_affected(root, folder, slug, changes) if folder.is_dir() else ([], [])
    each = InvestigationDiff(slug, changes, tuple(sentences), tuple(untold))
    title = " to ".join(f"run {run.id} ({run.name}, {run.date[:10]})" for run in (first, second))
    return _output(title, [each], markdown, everything, json)


def _require_one_experiment(first: StoredRun, second: StoredRun) -> None:
    names = [f"{run.name.slug}/{run.name.experiment}" for run in (first, second)]
    if names[0] != names[1] or first.record.family != second.record.family:
        raise EngineError(
            "these are runs of different experiments",
            expected="two runs of one experiment, at any point of its sweep and on any model",
            seen=f"run {first.id} of {names[0]}, run {second.id} of {names[1]}",
            hint="engine runs lists them",
        )
