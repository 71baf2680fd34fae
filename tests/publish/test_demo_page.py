"""The demo's page: the app in a sandbox where it runs, else how to start it; stills whose text is text."""

import html
import json
import re
from pathlib import Path

import pytest

from engine.publish.demo_page import PATH, demo_files
from engine.publish.demo_stills import write_stills
from engine.publish.mkdocs_site import build_site
from engine.publish.site_settings import SiteSettings
from engine.report.charts.pictures import PictureCache
from tests.publish import made_up
from tests.publish.stills import chart, panel, stills

RUNNING = SiteSettings(demo_url="https://demo.example.org:8443/mech/")
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


def test_without_an_address_the_page_tells_how_to_start_it(tmp_path: Path) -> None:
    text = str(demo_files(tmp_path, SiteSettings())[PATH])
    assert "mech demo\n" in text and "http://127.0.0.1:7860/" in text
    assert "<iframe" not in text and "What the panels show" not in text


def test_with_an_address_the_app_stands_in_a_sandboxed_frame(tmp_path: Path) -> None:
    text = html.unescape(str(demo_files(tmp_path, RUNNING)[PATH]))
    (frame,) = re.findall(r"<iframe [^>]*>", text)
    assert f'src="{RUNNING.demo_url}"' in frame
    assert 'title="The demo: four panels on a live model"' in frame
    (sandbox,) = re.findall(r'sandbox="([^"]*)"', frame)
    # Neither may it navigate the page that it stands in, nor open dialogs over it.
    assert not {word for word in sandbox.split() if "top-navigation" in word or "modals" in word}
    assert f'<a href="{RUNNING.demo_url}">' in text
    assert "## Start it" not in text


def test_stills_bring_their_charts_tables_and_what_one_sees(tmp_path: Path) -> None:
    write_stills(tmp_path, stills())
    files = demo_files(tmp_path, SiteSettings(), PictureCache())
    text = str(files[PATH])
    assert json.loads(files["demo/charts/lens.by_layer.json"])["data"]["values"][1] == {
        "layer": 1,
        "rank": 8.5,
    }
    assert str(files["demo/charts/lens.by_layer.svg"]).startswith("<svg")
    assert str(files["demo/tables/lens.by_layer.csv"]).startswith("layer,rank\n")
    assert "<script>" not in text
    for said in ("tiny-llama", "2026-01-31", "dequantised from Q4_1", "torch 2.13.0", "mech demo --stills"):
        assert said in html.unescape(text)
    order = [
        "### Logit lens",
        "It commits after 2",
        "reaches rank 8.5",
        'data-spec="charts/lens',
        "logit_lens",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)


def test_the_links_below_a_still_open_it_where_the_demo_runs(tmp_path: Path) -> None:
    write_stills(tmp_path, stills())
    for settings, address in ((SiteSettings(), "http://127.0.0.1:7860/"), (RUNNING, RUNNING.demo_url)):
        text = html.unescape(str(demo_files(tmp_path, settings)[PATH]))
        assert f'href="{address}?panel=lens&prompt=a+%26+b">Open in demo</a>' in text


def test_each_still_has_charts_of_its_own(tmp_path: Path) -> None:
    two = stills(panel(), panel(name="sae", charts=[chart(title="Another")]))
    write_stills(tmp_path, two)
    files = demo_files(tmp_path, SiteSettings())
    assert {"demo/charts/lens.by_layer.json", "demo/charts/sae.by_layer.json"} <= files.keys()


@pytest.mark.parametrize("address", ["", "https://demo.example.org:8443/mech"])
def test_the_policy_lets_the_demo_be_framed_and_no_other_host(
    project: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DEMO_URL", address)
    out = project / "public"
    build_site(project, made_up.files(project), out)
    for page in ("index.html", "demo/index.html", "guide/demo/index.html"):
        (policy,) = POLICY.findall((out / page).read_text())
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules.get("frame-src") == ("https://demo.example.org:8443" if address else None)
        assert "child-src" not in rules
    assert ("<iframe" in (out / "demo/index.html").read_text()) == bool(address)
    assert re.search(r'<a href="demo/" class="md-tabs__link">\s*Demo', (out / "index.html").read_text())
