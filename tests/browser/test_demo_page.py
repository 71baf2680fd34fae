"""The demo's page in a browser: charts to point at, on paper and on a phone; and the app in its frame."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from engine.publish.mkdocs_site import build_site
from tests.browser.conftest import Browser, Quiet
from tests.publish import made_up

pytestmark = pytest.mark.browser
PAGE = "demo/"
DRAWN = "document.querySelectorAll('.mech-chart[data-state=drawn] svg.marks').length == 1"
# A stand-in for the app: its script runs, it has storage of its own, and it tries to lead its reader away.
APP = """<!doctype html><title>app</title><p id="said">not run</p><script>
  localStorage.setItem("kept", "1")
  document.getElementById("said").textContent = `run, kept ${localStorage.getItem("kept")}`
  try { top.location = "https://other.invalid/" } catch { document.title = "held" }
</script>"""


def test_a_still_tells_its_values_to_who_points_at_it(browser: Browser) -> None:
    browser.open(PAGE)
    browser.run("document.querySelector('.mech-chart').scrollIntoView({block: 'center'})")
    browser.until(DRAWN)
    browser.run("document.querySelector('.mech-chart').scrollIntoView({block: 'center'})")
    mark = browser.driver.find_element(By.CSS_SELECTOR, "svg.marks .mark-symbol path")
    ActionChains(browser.driver).move_to_element(mark).perform()
    browser.until("!!document.querySelector('#vg-tooltip-element.visible')")
    said = browser.run("return document.querySelector('#vg-tooltip-element').innerText")
    assert "layer" in said and "120" in said


def test_the_link_of_a_still_has_its_state_and_is_reached_by_keyboard(browser: Browser) -> None:
    browser.open(PAGE)
    link = browser.driver.find_element(By.LINK_TEXT, "Open in demo")
    assert link.get_attribute("href") == "http://127.0.0.1:7860/?panel=lens&prompt=a+%26+b"
    browser.run("arguments[0].focus()", link)
    assert browser.run("return document.activeElement.textContent") == "Open in demo"


def test_on_a_phone_the_links_below_a_chart_stay_on_the_screen(browser: Browser) -> None:
    browser.open(PAGE, width=390, height=844)
    browser.until("document.readyState == 'complete'")
    right = "[...document.querySelectorAll('.mech-downloads a')].map(a => a.getBoundingClientRect().right)"
    edges = browser.run(f"return {right}")
    assert len(edges) >= 4 and max(edges) <= 390


@pytest.fixture(scope="module")
def app() -> Iterator[str]:
    """The address of a stand-in for the demo, on a host (and port) of its own."""

    class App(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(APP.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), App)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def embedding_site(app: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a site that says where the demo runs."""
    root = made_up.project(tmp_path_factory.mktemp("embedding"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEMO_URL", app)
        build_site(root, made_up.files(root), root / "public")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root / "public")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def embedding(driver: Chrome, embedding_site: str) -> Iterator[Browser]:
    """That site in the browser; what it complains of is what these tests are about."""
    driver.get("about:blank")
    yield Browser(driver, embedding_site)
    driver.switch_to.default_content()
    driver.get("about:blank")


def test_the_app_runs_in_its_frame_and_leads_nobody_away(embedding: Browser, app: str) -> None:
    # By instant navigation too, which keeps the policy of the page that was opened first.
    embedding.open("")
    embedding.until("!!window.document$")
    embedding.driver.find_element(By.LINK_TEXT, "Demo").click()
    embedding.until("location.pathname == '/demo/' && !!document.querySelector('iframe')")
    frame = embedding.driver.find_element(By.CSS_SELECTOR, "iframe.mech-demo")
    assert frame.accessible_name == "The demo: four panels on a live model"
    embedding.run("arguments[0].scrollIntoView()", frame)
    embedding.driver.switch_to.frame(frame)
    embedding.until("document.getElementById('said')?.textContent == 'run, kept 1'")
    assert embedding.run("return document.title") == "held"
    embedding.driver.switch_to.default_content()
    assert embedding.run("return location.pathname") == "/demo/"
    assert embedding.driver.find_element(By.LINK_TEXT, "Open the demo on a page of its own")


def test_no_other_host_is_framed(embedding: Browser) -> None:
    embedding.open(PAGE)
    embedding.run(
        """window.blocked = []
        addEventListener("securitypolicyviolation", e => blocked.push([e.effectiveDirective, e.blockedURI]))
        for (const src of ["https://other.invalid/", "http://127.0.0.1:9/"])
            document.body.append(Object.assign(document.createElement("iframe"), {src}))"""
    )
    embedding.until("blocked.length == 2")
    assert {directive for directive, _ in embedding.run("return blocked")} == {"frame-src"}
