import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import SiteError
from engine.publish.mkdocs_site import build_site
from tests.publish import made_up

LOADED = r'<(?:script|img|iframe|link rel="?(?:stylesheet|icon|preconnect))[^>]*>'
KILLED = """
import sys, time
from pathlib import Path
import mkdocs.commands.build as mkdocs_build
from engine.publish.mkdocs_site import build_site

def slow(config):
    half = Path(config.site_dir)
    half.mkdir()
    (half / "sitemap.xml").write_text("half a site")
    print("half built", flush=True)
    time.sleep(60)

mkdocs_build.build = slow
build_site(Path(sys.argv[1]), {"index.md": "# New"})
"""


@pytest.fixture
def built(project: Path) -> Path:
    build_site(project, made_up.files(project, made_up.report(project)))
    return project


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def leftovers(root: Path) -> list[str]:
    return [p.name for p in root.iterdir() if p.name.startswith(".public")]


def test_the_site_has_every_page_in_its_navigation_and_needs_no_other_host(built: Path) -> None:
    home = (built / "public/index.html").read_text()
    tabs = re.findall(r'md-tabs__link">\s*(.*?)\s*</a>', home, re.S)
    assert tabs == [
        "Home",
        "Investigations",
        "Demo",
        "Getting started",
        "How to read",
        "Reference",
    ]
    report = built / "public/investigations/fact-recall"
    assert 'href="../../reference/families/logit_lens/"' in (report / "index.html").read_text()
    beside = {"charts", "tables", "spec.yaml", "index.html", "fact-recall.ipynb", "citation.bib"}
    assert beside == {p.name for p in report.iterdir()}
    for page in (built / "public").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe|link rel="?(?:stylesheet|icon|preconnect))[^>]*>', page.read_text()
        )
        addresses = re.findall(r'(?:src|href|srcset)="?([^"\s>]*)', " ".join(loaded))
        assert addresses and not [address for address in addresses if "//" in address], page
        assert 'data-base="//"' not in "".join(loaded), page
    assert leftovers(built) == []


def test_the_evidence_is_on_the_page_and_not_in_the_search_index(built: Path) -> None:
    page = (built / "public/investigations/fact-recall/index.html").read_text()
    targets = set(re.findall(r'popovertarget="([^"]+)"', page))
    assert targets and targets == set(re.findall(r'<div popover id="([^"]+)"', page))
    assert "Measured by" in page
    index = (built / "public/search/search_index.json").read_text()
    assert "The answer rises to the top." in index and "Measured by" not in index


def test_a_broken_link_is_refused_and_the_last_site_stays(built: Path) -> None:
    before = contents(built / "public")
    broken = made_up.report(built, text="See [this](nowhere.md).\n")
    with pytest.raises(SiteError, match=r"fact-recall/index.md.*nowhere.md"):
        build_site(built, made_up.files(built, broken))
    assert contents(built / "public") == before
    assert leftovers(built) == []


def test_kill_9_during_a_build_leaves_the_last_site(built: Path) -> None:
    before = contents(built / "public")
    command = [sys.executable, "-c", KILLED, str(built)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=made_up.REPOSITORY) as process:
        assert process.stdout and process.stdout.readline() == "half built\n"
        process.send_signal(signal.SIGKILL)
    assert contents(built / "public") == before
    assert leftovers(built) != []
    build_site(built, made_up.files(built, made_up.report(built)))
    assert contents(built / "public").keys() == before.keys()
    assert leftovers(built) == []


def test_kill_9_between_the_two_renames_is_mended_by_the_next_build(project: Path) -> None:
    (project / ".public-building-killed/previous").mkdir(parents=True)
    (project / ".public-building-killed/previous/sitemap.xml").write_text("the last site")
    (project / "mkdocs.yml").write_text("nonsense: [")
    with pytest.raises(SiteError):
        build_site(project, {})
    assert (project / "public/sitemap.xml").read_text() == "the last site"
    assert leftovers(project) == []


def test_a_folder_with_other_files_is_left_alone(project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine/thesis.tex").write_text("years of work")
    with pytest.raises(SiteError, match="left alone"):
        build_site(project, {}, project / "mine")
    assert (project / "mine/thesis.tex").exists()


def test_two_builds_at_once_take_turns(project: Path) -> None:
    files = made_up.files(project, made_up.report(project))
    with ThreadPoolExecutor(2) as pool:
        changed = list(pool.map(lambda _: build_site(project, files), range(2)))
    assert sorted(map(len, changed)) == [0, len(files)]
    assert (project / "public/index.html").exists()
    assert leftovers(project) == []


def test_a_mistake_in_the_configuration_is_one_clear_message(project: Path) -> None:
    (project / "mkdocs.yml").write_text("site_name: x\ntheme: {name: no-such-theme}\n")
    with pytest.raises(SiteError, match=r"mkdocs.yml.*\n.*no-such-theme"):
        build_site(project, {})
