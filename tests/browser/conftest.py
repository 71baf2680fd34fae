"""A site of made-up investigations on a plain file server, and a headless browser to read it."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.ui import WebDriverWait

from engine.publish.demo_stills import write_stills
from engine.publish.mkdocs_site import build_site
from engine.publish.publication_pages import PublicationPage, listed
from engine.publish.publications import read_publication
from engine.publish.threads.thread_page import thread_page
from engine.report.charts.pictures import PictureCache
from engine.runs.ledger import Ledger
from engine.runs.library import Library
from tests.publish import made_up
from tests.publish.stills import stills

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-sync", "--disable-background-networking", "--disable-component-update"]


THREAD = """\
---
title: Posts
---
The rank falls to {{ fact-recall.lens.final_rank }}.

See https://example.org/with/a/long/path/that/has/no/place/to/break/in/it/and/goes/on/and/on.

---

{% claim "fact-recall.mostly-known", "contradicted" %}It does not know them all.{% endclaim %}
{{ chart("fact-recall.lens.by_layer") }}
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


@pytest.fixture(scope="session")
def www(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to serve, with the built site in it, `some/path`. Its second report has no pictures."""
    root = made_up.project(tmp_path_factory.mktemp("project"))
    www = tmp_path_factory.mktemp("www")
    reports = [
        made_up.report(root, pictures=PictureCache()),
        made_up.report(root, "a-second-one", "A second question?"),
    ]
    publications = listed([_thread(root, reports[0].ledger)])
    write_stills(root / "site", stills())
    build_site(root, made_up.files(root, *reports) | publications, www / "some" / "path")
    return www


def _thread(root: Path, ledger: Ledger) -> PublicationPage:
    """A thread of two posts, the second with a picture."""
    path = root / "publications/posts/thread.md"
    path.parent.mkdir(parents=True)
    path.write_text(THREAD, encoding="utf-8")
    return thread_page(read_publication(path, "thread"), Library({ledger.slug: ledger}), root, [ledger.slug])


@pytest.fixture(scope="session")
def site(www: Path) -> Iterator[str]:
    """The address of the built site, which is not at the root of its host."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(www)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/some/path/"
    server.shutdown()
    server.server_close()


class Browser:
    """A page, what it asked the network for, and what it complained of."""

    def __init__(self, driver: Chrome, site: str) -> None:
        self.driver, self.site = driver, site

    def open(self, page: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(self.site + page)

    def run(self, script: str, *arguments: object):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds."""
        WebDriverWait(self.driver, 20, 0.05).until(lambda _: self.run(f"return {condition}"), condition)

    def requests(self) -> list[str]:
        """Every address asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "blob:"))]

    def complaints(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def _found(program: str) -> str:
    path = shutil.which(program)
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is not installed")
    assert path, f"{program} is needed where CI is set"
    return path


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = _found("chromium")
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=ChromeService(_found("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver: Chrome, site: str) -> Iterator[Browser]:
    """A fresh page; afterwards, whatever the test did, nothing left the host and nothing went wrong."""
    driver.get("about:blank")
    page = Browser(driver, site)
    page.requests()
    page.complaints()
    yield page
    host = site.split("/some/")[0]
    assert [url for url in page.requests() if not url.startswith((host, "about:"))] == []
    assert page.complaints() == []
    if driver.current_url.startswith("http"):
        page.run("localStorage.clear(); sessionStorage.clear()")


@pytest.fixture
def each_page() -> list[str]:
    return [
        "",
        "demo/",
        "getting-started/",
        "investigations/",
        "investigations/fact-recall/",
        "reading-the-evidence/",
        "reading-the-evidence/calibrations/",
        "reference/commands/",
        "reference/families/",
        "reference/families/logit_lens/",
        "reference/spec/",
    ]
