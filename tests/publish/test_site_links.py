"""A small site with every kind of link, and what is wrong with each of those that lead nowhere."""

from pathlib import Path

import pytest

from engine.publish.site_links import SiteLinks, follow_links

URL = "https://example.org/some/site/"
SOUND = """\
<!doctype html><html><head>
<link rel="canonical" href="https://example.org/some/site/guide/">
<link rel="stylesheet" href="../style.css">
<meta property="og:image" content="https://example.org/some/site/a%20picture.png">
</head><body>
<h1 id="top-of-all">x</h1>
<a href="#top-of-all">x</a> <a href="#">x</a> <a href="#top">x</a> <a href=".">x</a> <a href="..">x</a>
<a href="">x</a> <a href="../">x</a> <a href="../index.html">x</a> <a href="../#lens.rank">x</a>
<a href="/some/site/guide/">x</a>
<a href="?q=1#top-of-all">x</a> <a href="../a%20picture.png">x</a> <a href="#%C3%BC">x</a> <b id="ü">x</b>
<img src="../a%20picture.png" srcset="../a%20picture.png 2x, ../a%20picture.png"> <a name="old">x</a>
<a href="#old">x</a>
<button popovertarget="p">x</button> <div popover id="p" aria-labelledby="t"><p id="t">x</p></div>
<label for="__drawer">x</label> <a href="mailto:a@example.org">x</a> <img src="data:image/png;base64,AA">
<a href="https://example.com/x">x</a> <a href="//example.com/y">x</a> <a href="https://example.com/x">x</a>
<script>const text = '<a href="nowhere/">'</script> <!-- <a href="nowhere/"> -->
</body></html>
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text('<a href="guide/">x</a><button id="lens.rank">1</button>')
    (tmp_path / "guide/index.html").write_text(SOUND)
    (tmp_path / "style.css").write_text("/* url(no.png) */\nbody { background: url('a%20picture.png') }\n")
    (tmp_path / "a picture.png").write_bytes(b"")
    (tmp_path / "404.html").write_text('<a href="/some/site/guide/">x</a>')
    (tmp_path / "sitemap.xml").write_text(f"<urlset><url><loc>{URL}guide/</loc></url></urlset>")
    (tmp_path / "feed.xml").write_text(
        f'<feed><link rel="self" href="{URL}feed.xml"/><link href="./"/></feed>'
    )
    return tmp_path


def told(links: SiteLinks) -> list[tuple[str, int, str, str, tuple[str, ...]]]:
    return [(b.link.page, b.link.line, b.link.target, b.why, b.near) for b in links.broken]


def test_a_sound_site_has_no_broken_link(site: Path) -> None:
    links = follow_links(site, URL)
    assert told(links) == []
    assert links.followed == 29
    assert {address: len(found) for address, found in links.external.items()} == {
        "https://example.com/x": 2,
        "//example.com/y": 1,
    }


@pytest.mark.parametrize(
    ("html", "target", "why", "near"),
    [
        ('<a href="guid/">', "guid/", "there is no guid/", "guide/"),
        (
            '<a href="guide/#top-of-al">',
            "guide/#top-of-al",
            "no #top-of-al in guide/index.html",
            "#top-of-all",
        ),
        ('<a href="#lens.rnk">', "#lens.rnk", "there is no #lens.rnk here", "#lens.rank"),
        ('<a class=mech-card href="guide#x">', "guide#x", "no #x in guide/index.html", ""),
        ('<img src="a%20pictur.png">', "a%20pictur.png", "there is no a pictur.png", "a picture.png"),
        ('<img srcset="a.png 1x">', "a.png", "there is no a.png", ""),
        ('<p style="background: url(b.png)">', "b.png", "there is no b.png", ""),
        ('<div data-spec="charts/x.json">', "charts/x.json", "there is no charts/x.json", ""),
        ('<button popovertarget="mech-n">', "#mech-n", "there is no #mech-n here", ""),
        (
            '<div aria-labelledby="lens.rank lens.rnk">',
            "#lens.rnk",
            "there is no #lens.rnk here",
            "#lens.rank",
        ),
        ('<a href="../up/">', "../up/", "it leads out of the site", ""),
        ('<a href="/some/site/nowhere">', "/some/site/nowhere", "there is no nowhere", ""),
        (f'<a href="{URL}guid/">', f"{URL}guid/", "there is no guid/", "guide/"),
        (f'<meta property="og:image" content="{URL}no.png">', f"{URL}no.png", "there is no no.png", ""),
        ('<meta http-equiv="refresh" content="0; url=gone/">', "gone/", "there is no gone/", ""),
        ('<use xlink:href="icons.svg#x">', "icons.svg#x", "there is no icons.svg", ""),
        ('<a href="style.css/">', "style.css/", "there is no style.css/", "style.css"),
    ],
)
def test_what_leads_nowhere_is_told_with_its_line_and_what_is_near(
    site: Path, html: str, target: str, why: str, near: str
) -> None:
    (site / "index.html").write_text(f'<button id="lens.rank">1</button>\n\n<p>\n{html}')
    ((page, line, seen, said, nearest),) = told(follow_links(site, URL))
    assert (page, line, seen) == ("index.html", 4, target)
    assert why in said
    assert near in nearest or not near


def test_styles_and_feeds_are_followed_too(site: Path) -> None:
    (site / "style.css").write_text("/* x */\nb { background: url(gone.png); }")
    (site / "feed.xml").write_text('<feed>\n<link href="investigations/a&amp;b/"/></feed>')
    assert [each[:3] for each in told(follow_links(site, URL))] == [
        ("feed.xml", 2, "investigations/a&b/"),
        ("style.css", 2, "gone.png"),
    ]


def test_without_a_site_url_its_address_is_another_host(site: Path) -> None:
    (site / "404.html").unlink()
    (site / "guide/index.html").write_text(f'<a href="{URL}nowhere/">x</a>')
    assert f"{URL}nowhere/" in follow_links(site).external
