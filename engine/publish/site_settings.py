"""What a whole project says of itself, once: name, address, repository, authors and version.

`mkdocs.yml` has the first two and, under `extra`, the repository and where the demo runs; `CITATION.cff` who
is to be cited and as which version. A spec may say otherwise for its own investigation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from yaml_env_tag import construct_env_tag

from engine.errors import SiteError
from engine.spec.document import Document, Loc, document_in
from engine.spec.identifiers import address, orcid
from engine.spec.models import Contributor

MKDOCS = "mkdocs.yml"
CITATION = "CITATION.cff"
EDIT_PATH = "edit/main/"
"""Between a repository's address and a file's path, as GitHub has it, unless `extra.edit_path` is another."""

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
"""A host that a content security policy can name; it knows no addresses in brackets."""

LOOPBACK = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1")


@dataclass(frozen=True)
class SiteSettings:
    """What pages say of the project. `site_url` ends with a slash, and is empty where none is given.

    So does `demo_url`, where readers find the demo running.
    """

    name: str = "Mechanistic interpretability"
    site_url: str = ""
    repository: str = ""
    edit_path: str = EDIT_PATH
    authors: tuple[Contributor, ...] = ()
    version: str = ""
    demo_url: str = ""

    @property
    def address(self) -> str:
        """The site's address for a reader elsewhere; empty for that of a file server on this machine."""
        parts = urlsplit(self.site_url)
        is_public = parts.scheme in ("http", "https") and parts.hostname not in (None, *LOOPBACK)
        return self.site_url if is_public else ""

    def edit_url(self, path: str, repository: str = "") -> str:
        """Where a file of the project can be changed, in the repository (the project's own by default)."""
        repository = repository or self.repository
        return f"{repository}/{self.edit_path.strip('/')}/{path}" if repository else ""


class _Settings(yaml.SafeLoader):
    """mkdocs' own dialect of YAML, as far as it matters here: variables are read, other tags left out."""


_Settings.add_constructor("!ENV", construct_env_tag)
_Settings.add_multi_constructor("!", lambda loader, suffix, node: None)
_Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def site_settings(root: Path) -> SiteSettings:
    """The settings of the project in `root`; a file that is missing says nothing.

    Raises SiteError, or SpecError with the line, for a file that cannot be read or says what it cannot mean.
    """
    mkdocs = _mkdocs(root / MKDOCS)
    cited = _citation(root / CITATION)
    extra = mkdocs.get("extra") or {}
    return SiteSettings(
        name=str(mkdocs.get("site_name") or SiteSettings.name),
        site_url=_with_slash(str(mkdocs.get("site_url") or "")),
        repository=_repository(extra.get("repository"), root / MKDOCS) or cited.repository,
        edit_path=str(extra.get("edit_path") or EDIT_PATH),
        authors=cited.authors,
        version=cited.version,
        demo_url=_demo_url(extra.get("demo_url"), root / MKDOCS),
    )


def _mkdocs(path: Path) -> Mapping[str, Any]:
    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), _Settings)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SiteError("the site's settings cannot be read", where=str(path), seen=str(error)) from error
    return settings if isinstance(settings, dict) else {}


def _with_slash(url: str) -> str:
    return f"{url.rstrip('/')}/" if url else ""


def _repository(value: Any, path: Path) -> str:
    try:
        return address(str(value)) if value else ""
    except ValueError as error:
        raise SiteError(str(error), where=f"{path}: extra.repository", seen=str(value)) from None


def _demo_url(value: Any, path: Path) -> str:
    """The demo's address with a slash at its end; pages let its host, and no other, be framed."""
    if not value:
        return ""
    where = f"{path}: extra.demo_url"
    expected = "https://demo.example.org/, without name, password, query and fragment"
    try:
        parts = urlsplit(address(str(value)))
        port = parts.port
    except ValueError as error:
        raise SiteError(str(error), where=where, expected=expected, seen=str(value)) from None
    plain = f"{parts.scheme}://{parts.hostname}{f':{port}' if port is not None else ''}{parts.path}"
    is_plain = str(value).rstrip("/").lower() == plain.lower()
    if not (is_plain and _HOST.fullmatch(parts.hostname or "")):
        problem = "this is no address that the demo can be embedded from"
        raise SiteError(problem, where=where, expected=expected, seen=str(value))
    return _with_slash(plain)


def _citation(path: Path) -> SiteSettings:
    """Authors, version and repository of a Citation File Format file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return SiteSettings()
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError("this cannot be read", where=str(path), seen=str(error)) from error
    document = document_in(text, str(path))
    if document is None or not isinstance(document.value, dict):
        raise SiteError("this says nothing", where=str(path), expected="cff-version, title, authors")
    said = document.value
    authors = said.get("authors") or []
    if not isinstance(authors, list):
        raise SiteError("authors is no list", where=document.where(("authors",)), expected="- name: ...")
    return SiteSettings(
        authors=tuple(_author(document, ("authors", at), author) for at, author in enumerate(authors)),
        version=str(said.get("version") or ""),
        repository=_checked(address, document, ("repository-code",)),
    )


def _author(document: Document, loc: Loc, author: Any) -> Contributor:
    """A person (`family-names`, `given-names`) or an entity (`name`)."""
    said = author if isinstance(author, dict) else {}
    family = " ".join(str(said[key]) for key in ("name-particle", "family-names") if said.get(key))
    given = str(said.get("given-names") or "")
    name = ", ".join(filter(None, [family, given])) or str(said.get("name") or said.get("alias") or "")
    if not name.strip():
        expected = "name, or family-names and given-names"
        raise SiteError("an author without a name", where=document.where(loc), expected=expected)
    return Contributor(
        name=name,
        orcid=_checked(orcid, document, (*loc, "orcid")) or None,
        affiliation=str(said.get("affiliation") or "") or None,
        group=not (family or given),
    )


def _checked(check: Any, document: Document, loc: Loc) -> str:
    """What stands at a place of the file in its one spelling; empty where nothing does."""
    value: Any = document.value
    for step in loc:
        value = value.get(step) if isinstance(value, dict) else value[step]
    if not value:
        return ""
    try:
        return check(str(value))
    except ValueError as error:
        raise SiteError(str(error), where=document.where(loc), seen=str(value)) from None
