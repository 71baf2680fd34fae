"""The line that a person wrote is found for a link of a built page."""

from pathlib import Path

import pytest

from engine.publish.files import write_files
from engine.publish.link_sources import written_at
from engine.publish.site_links import PageLink

GUIDE = "# x\n\n[a](../gone.md) and [b](prompts.md#no)\n<img src=no.png>\n[r]: other.md\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {
        "site/guide/models.md": GUIDE,
        "site/home.md": "[a](b.md)\n\n<a href='nowhere/'>",
        "investigations/a/report.md": '{{ x.y }}\n\n<a href="#lens.rnk">x</a>\n[up](../b/#claim.none)\n',
        "investigations/a/spec.yaml": "headline: '[x](elsewhere/)'\n",
        "publications/p/paper.qmd": "![x](figure.png)\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    write_files(tmp_path / "site", {"index.md": "[a](nowhere/)", "investigations/a/index.md": "[x](gone/)"})
    return tmp_path


@pytest.mark.parametrize(
    ("page", "target", "place"),
    [
        # A page that is not there is left as it is written, an anchor's page is written anew.
        ("guide/models/index.html", "../gone.md", "site/guide/models.md:3"),
        ("guide/models/index.html", "../prompts/#no", "site/guide/models.md:3"),
        ("guide/models/index.html", "no.png", "site/guide/models.md:4"),
        ("guide/models/index.html", "../other/", "site/guide/models.md:5"),
        ("index.html", "nowhere/", "site/home.md:3"),
        ("investigations/a/index.html", "#lens.rnk", "investigations/a/report.md:3"),
        ("investigations/a/index.html", "../b/#claim.none", "investigations/a/report.md:4"),
        ("investigations/a/index.html", "elsewhere/", "investigations/a/spec.yaml:1"),
        ("publications/p/index.html", "figure.png", "publications/p/paper.qmd:1"),
        # What the engine wrote is in no text of a person.
        ("investigations/a/index.html", "gone/", "public/investigations/a/index.html:7"),
        ("guide/models/index.html", "../elsewhere/", "public/guide/models/index.html:7"),
        ("reference/none/index.html", "x", "public/reference/none/index.html:7"),
    ],
)
def test_where_a_link_was_written(root: Path, page: str, target: str, place: str) -> None:
    assert written_at(root, PageLink(page, 7, "href", target)) == place
