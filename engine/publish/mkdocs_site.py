"""site/ becomes public/, whole or not at all: built beside it, then put in its place by renaming."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from engine.errors import SiteError
from engine.publish.files import Content, write_files
from engine.publish.navigation import write_navigation
from engine.publish.page_cache import PageCache
from engine.publish.previous_site import previous_site
from engine.publish.up_to_date import is_built, keep_built, sources_hash
from engine.report.grammar import keep_compiled
from engine.report.json_cache import JsonCache
from engine.report.process_share import Processes
from engine.runs.store.locks import held
from engine.spec.repository_files import refuse_links_out


def build_site(
    root: Path,
    files: Mapping[str, Content],
    out: Path | None = None,
    kept: PageCache | None = None,
    unchanged: Collection[str] = (),
    processes: Processes | None = None,
) -> list[str]:
    """Write the generated `files` into site/ and build `out` (public/); returns the paths that changed.

    Generated files that are `unchanged`, by path, lie there already.

    A site of which nothing changed is left as it is. Else unchanged pages are not converted anew, since they
    lie in `.engine/pages`, and what would come out the same is taken over from the site in `out`. A caller
    that builds again and again passes what it `kept` in memory. Many pages are shared among `processes`.

    Two builds at once take turns. A build that fails or is killed leaves the previous site as it was.
    Raises SiteError with every complaint of the site builder.
    """
    out = (out or root / "public").resolve()
    kept = kept or PageCache()
    kept.disk = JsonCache(root / ".engine" / "pages")
    for name in ("site", "CHANGELOG.md", "SECURITY.md", "mkdocs.yml"):
        # mkdocs copies whatever a link in the folder of pages leads to.
        refuse_links_out(root / name, root, SiteError)
    with _alone(root), _scratch(out) as scratch:
        changed = write_files(root / "site", files, unchanged)
        sources = sources_hash(root, root / "mkdocs.yml", out)
        if not is_built(root, out, sources):
            kept.previous = previous_site(out, root / ".engine")
            _run_mkdocs(
                root / "mkdocs.yml", scratch / "site", root / ".engine" / "templates", kept, processes
            )
            _swap(scratch / "site", out, scratch / "previous")
            # Before the state of the new files is noted: those that both have in common change with it.
            shutil.rmtree(scratch / "previous", ignore_errors=True)
            kept.previous.note()
            keep_built(root, out, sources)
    return changed


@contextmanager
def built_with_faults(root: Path, files: Mapping[str, Content]) -> Iterator[Path]:
    """The site in a folder of its own that is gone afterwards, built whatever mkdocs complains of.

    So a link that leads nowhere can be looked at where a reader would meet it. public/ stays as it is.
    """
    kept = PageCache()
    kept.disk = JsonCache(root / ".engine" / "pages")
    with _alone(root), tempfile.TemporaryDirectory(prefix="links-", dir=root / ".engine") as folder:
        write_files(root / "site", files)
        out = Path(folder) / "site"
        _run_mkdocs(root / "mkdocs.yml", out, root / ".engine" / "templates", kept, None, strict=False)
        yield out


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    try:
        (root / ".engine").mkdir(exist_ok=True)
        with held(root / ".engine" / "site.lock"):
            yield
    except OSError as error:
        raise SiteError("the site cannot be written", where=str(root), seen=str(error)) from error


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside `out`; first clears up after builds that were killed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}-building-"
    for left in out.parent.glob(f"{prefix}*"):
        if not out.exists() and (left / "previous").exists():
            (left / "previous").rename(out)
        shutil.rmtree(left, ignore_errors=True)
    _refuse_foreign(out)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=out.parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _refuse_foreign(out: Path) -> None:
    """A folder with someone's own files in it is not replaced."""
    if out.exists() and not (out / "sitemap.xml").exists() and (not out.is_dir() or any(out.iterdir())):
        raise SiteError("this is not a site that the engine built, so it is left alone", where=str(out))


def _swap(fresh: Path, out: Path, previous: Path) -> None:
    if out.exists():
        out.rename(previous)
    fresh.rename(out)


def _run_mkdocs(
    config_file: Path,
    out: Path,
    compiled: Path,
    kept: PageCache,
    processes: Processes | None,
    *,
    strict: bool = True,
) -> None:
    """Build the site; the theme's templates are kept `compiled`, which saves a third of the time.

    Without `strict`, a site with complaints is built, too, and its pages are not kept.
    """
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    from engine.publish.mkdocs_plugin import join

    write_navigation(config_file.parent)
    with _complaints() as complaints, ExitStack() as closing:
        try:
            # None leaves it as mkdocs.yml has it.
            config = load_config(str(config_file), site_dir=str(out), strict=None if strict else False)
            templates = config.theme.get_env()
            keep_compiled(templates, compiled)
            kept.keep_listing(templates.loader)
            join(kept, config, closing, processes)
            config.theme.get_env = lambda: templates
            build(config)
            if complaints:
                kept.clear()  # a page that is kept would not be complained of again
            else:
                kept.save()
        except Exception as error:  # themes and extensions raise errors of their own
            kept.clear()  # so that the next build complains again of what is still wrong
            seen = "\n            ".join(complaints) or str(error)
            raise SiteError(
                "the site does not build",
                where=str(config_file),
                seen=seen,
                hint="a page under investigations/ is made from that investigation's report.md",
            ) from error


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect what mkdocs warns of, instead of printing it."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.getLogger("mkdocs")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
