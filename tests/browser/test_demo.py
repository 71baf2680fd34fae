"""The demo in a browser: what a reader does, and that nothing leaves the host."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from engine.demo.app import build_app
from engine.demo.live_model import LiveModel
from engine.demo.panels import logit_lens
from engine.demo.server import DemoServer, web_app
from engine.demo.server_address import ServerAddress, bound_socket
from engine.models.micro import micro_model
from tests.browser.conftest import Browser
from tests.demo import toy_panel

pytestmark = pytest.mark.browser
LENS = replace(
    logit_lens.PANEL,
    examples=lambda live: [logit_lens.LensState(prompt="the capital city of France is", answer=" Paris")],
)


@dataclass(frozen=True)
class Running:
    """A demo that is served, and how to start another at its port."""

    url: str
    restart: Callable[[], None]


@pytest.fixture(scope="module")
def demo() -> Iterator[Running]:
    servers: list[DemoServer] = []
    port = 0

    def start() -> None:
        nonlocal port
        for old in servers:
            old.close()
        taken = bound_socket(ServerAddress(port=port))
        port = taken.getsockname()[1]
        address = ServerAddress(port=port)
        live = LiveModel.of(micro_model(n_layers=3))
        server = DemoServer(web_app(build_app(live, [LENS, toy_panel.PANEL]), address), taken)
        server.start()
        servers.append(server)

    start()
    yield Running(f"http://127.0.0.1:{port}/", start)
    servers[-1].close()


@pytest.fixture
def page(driver: Chrome, demo: Running) -> Iterator[Browser]:
    """A fresh page of the demo; afterwards nothing left the host and nothing went wrong."""
    driver.get("about:blank")
    found = Browser(driver, demo.url)
    found.requests()
    found.complaints()
    yield found
    strangers = [url for url in found.requests() if not url.startswith((demo.url, "about:"))]
    assert strangers == []
    assert found.complaints() == []


DRAWN = "document.querySelectorAll('.mech-chart[data-state=drawn]').length"


def shown(page: Browser, words: str) -> None:
    """Wait until these words can be seen."""
    page.until(f"document.body.innerText.includes({words!r})")


def addressed(page: Browser, **fields: list[str]) -> None:
    """Wait until the address says these fields and no others."""
    ends = time.monotonic() + 20
    while query(page) != fields and time.monotonic() < ends:
        time.sleep(0.05)
    assert query(page) == fields


def field(page: Browser, label: str) -> WebElement:
    """The box under a label, in the panel that is shown."""
    within = "//*[self::textarea or self::input]"
    boxes = page.driver.find_elements(By.XPATH, f"//label[contains(., '{label}')]{within}")
    return next(box for box in boxes if box.is_displayed())


def query(page: Browser) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.driver.current_url).query, keep_blank_values=True)


def test_the_first_panel_answers_when_the_page_is_opened(page: Browser) -> None:
    page.open("?panel=lens&prompt=the+capital+city+of+France+is")
    page.until(f"{DRAWN} === 2")
    shown(page, "Paris")
    addressed(page, panel=["lens"], prompt=["the capital city of France is"])
    words = page.run("return document.querySelector('.mech-drawing').getAttribute('aria-label')")
    assert "6 by 4 cells" in words  # positions, and layers with the embedding


def test_what_is_typed_is_read_and_the_address_says_it(page: Browser) -> None:
    page.open("?panel=toy")
    shown(page, "picked nothing")
    box = page.driver.find_element(
        By.XPATH, "//label[contains(., 'Words')]//textarea | //label[contains(., 'Words')]//input"
    )
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys("cat sits")
    box.send_keys(Keys.ENTER)
    addressed(page, panel=["toy"], text=["cat sits"])


def test_a_state_link_shows_its_state_also_after_a_restart(page: Browser, demo: Running) -> None:
    page.open("?panel=toy&text=red+dog&picked=dog&more=x&more=y+z")
    state = {"panel": ["toy"], "text": ["red dog"], "picked": ["dog"], "more": ["x", "y z"]}
    shown(page, "picked dog")
    addressed(page, **state)
    demo.restart()
    page.open("?" + urlencode(state, doseq=True))
    shown(page, "picked dog")
    addressed(page, **state)


def test_a_link_to_another_panel_opens_its_tab(page: Browser) -> None:
    page.open("?panel=toy&does=refuse")
    shown(page, "refused")
    alert = page.driver.find_element(By.CSS_SELECTOR, "#panel-toy [role=alert]")
    # What an error says is text, whatever is in it.
    assert "<b>refused</b>" in alert.text
    assert "anything else" in alert.text
    addressed(page, panel=["toy"], does=["refuse"])


def test_a_fault_of_a_panel_is_one_message_without_a_path_of_this_machine(
    page: Browser, capfd: pytest.CaptureFixture[str]
) -> None:
    page.open("?panel=toy&does=break")
    shown(page, "the panel toy failed")
    assert "secret" not in page.run("return document.body.innerText")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_what_is_wrong_in_an_address_is_one_message_and_the_panel_is_whole(page: Browser) -> None:
    page.open("?panel=toy&seconds=1e9")
    shown(page, "less than or equal to 60")
    page.driver.find_element(By.CSS_SELECTOR, "#panel-toy button.primary").click()
    shown(page, "picked nothing")


def test_hostile_text_is_text(page: Browser) -> None:
    page.run("window.owned = 0")
    text = "%3Cimg+src%3Dx+onerror%3D'owned%3D1'%3E+%22%3E%3Cscript%3Eowned%3D1%3C/script%3E"
    page.open(f"?panel=toy&text={text}&picked={text[:40]}")
    page.until(f"{DRAWN} > 0")
    assert page.run("return window.owned") in (None, 0)
    assert page.run("return document.querySelectorAll('.mech-figure img, .mech-links img').length") == 0


def test_a_click_on_a_mark_tells_its_row(page: Browser) -> None:
    page.open("?panel=toy&text=one+three+seventeen")
    page.until(f"{DRAWN} > 0")
    shown(page, "picked nothing")
    bars = page.driver.find_elements(By.CSS_SELECTOR, "#panel-toy .mark-rect.role-mark path")
    ActionChains(page.driver).move_to_element(bars[2]).click().perform()
    shown(page, "picked seventeen")
    addressed(page, panel=["toy"], text=["one three seventeen"], picked=["seventeen"])


def test_cancel_ends_the_computation(page: Browser) -> None:
    page.open("?panel=toy&seconds=50")
    page.until("document.querySelector('#panel-toy progress')?.value > 0")
    page.driver.find_element(By.CSS_SELECTOR, "#panel-toy button.secondary").click()
    shown(page, "Cancelled.")
    until_idle()
    # The next one does not wait for it, and the panel works as before.
    page.open("?panel=toy")
    shown(page, "picked nothing")


def test_a_tab_that_is_closed_ends_its_computation(page: Browser) -> None:
    page.open("?panel=toy&seconds=50&text=left+alone")
    page.until("document.querySelector('#panel-toy progress')?.value > 0")
    page.driver.get("about:blank")
    until_idle()
    # Gradio's own script says that its stream was cut off.
    assert all("abort" in said.lower() or "errored out" in said for said in page.complaints())


def until_idle(seconds: float = 20.0) -> None:
    """Wait until no request is computed."""
    ends = time.monotonic() + seconds
    while toy_panel.running and time.monotonic() < ends:
        time.sleep(0.05)
    assert toy_panel.running == []


def test_a_tab_is_computed_once_and_the_address_follows(page: Browser) -> None:
    page.open("?panel=lens&prompt=the+capital+city+of+France+is")
    page.until(f"{DRAWN} === 2")
    tabs = {
        tab.text: tab for tab in page.driver.find_elements(By.CSS_SELECTOR, "button[role=tab]") if tab.text
    }
    tabs["Toy"].click()
    page.until("location.search === '?panel=toy'")
    shown(page, "picked nothing")
    page.run("window.before = document.querySelector('#panel-lens .mech-chart')")
    tabs["Logit lens"].click()
    page.until("location.search.includes('panel=lens')")
    assert query(page)["prompt"] == ["the capital city of France is"]
    assert page.run("return window.before === document.querySelector('#panel-lens .mech-chart')")


def test_an_example_fills_the_panel(page: Browser) -> None:
    page.open("?panel=toy")
    shown(page, "picked nothing")
    picker = page.driver.find_element(By.CSS_SELECTOR, "#panel-toy input[role=combobox]")
    picker.click()
    page.until("document.querySelectorAll('[role=option]').length === 2")
    page.driver.find_elements(By.CSS_SELECTOR, "[role=option]")[1].click()
    shown(page, "picked longer")
    assert field(page, "Words").get_attribute("value") == "a longer example"


def test_link_and_spec_can_be_copied(page: Browser) -> None:
    page.open("?panel=lens&prompt=the+capital+city+of+France+is")
    page.until("!!document.querySelector('[data-copy=spec]')")
    page.run("document.querySelector('.mech-links details').open = true")
    for what in ("link", "spec"):
        button = page.driver.find_element(By.CSS_SELECTOR, f"[data-copy={what}]")
        button.click()
        page.until(f"/Copied|copied/.test(document.querySelector('[data-copy={what}]').textContent)")
    assert "family: logit_lens" in page.run("return document.querySelector('.mech-links pre').textContent")


def test_charts_are_drawn_anew_where_light_turns_dark(page: Browser) -> None:
    page.open("?panel=lens", scheme="dark")
    page.until(f"{DRAWN} === 2 && document.body.classList.contains('dark')")
    label = "getComputedStyle(document.querySelector('.mech-chart .role-axis-title text')).fill"
    assert page.run(f"return {label}") == "rgb(227, 231, 236)"
    page.run("document.body.classList.remove('dark')")
    page.until(f"{DRAWN} === 2 && {label} === 'rgb(29, 39, 51)'")


@pytest.mark.parametrize("panel", ["lens", "toy"])
def test_a_phone_scrolls_downwards_only(page: Browser, panel: str) -> None:
    page.open(f"?panel={panel}", width=390, height=800)
    page.until(f"{DRAWN} > 0")
    assert page.run("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("panel", ["lens", "toy"])
def test_axe_finds_nothing_in_our_own_markup(page: Browser, panel: str, scheme: str) -> None:
    page.open(f"?panel={panel}", scheme=scheme)
    page.until(f"{DRAWN} > 0 && !!document.querySelector('#panel-{panel} .mech-permalink')")
    page.run(f"document.querySelectorAll('#panel-{panel} details').forEach(fold => fold.open = true)")
    assert violations(page, OWN_MARKUP) == []


OWN_MARKUP = [".mech-head", ".mech-about", ".mech-status", ".mech-found", ".mech-figure", ".mech-links"]


def violations(page: Browser, selectors: list[str]) -> list[str]:
    """What axe says of the elements under these selectors that can be seen."""
    page.driver.execute_script(axe_script())
    run = """
        const [selectors, done] = arguments
        const seen = selectors.flatMap(s => [...document.querySelectorAll(s)]).filter(e => e.offsetParent)
        axe.run({include: seen}, {resultTypes: ["violations"]}).then(found => done(found.violations.flatMap(
            one => one.nodes.map(node => `${one.id}: ${node.html.slice(0, 200)}`))))
    """
    return page.driver.execute_async_script(run, selectors)


def axe_script() -> str:
    """axe-core, from the package axe-core-python or the file that AXE_SCRIPT names."""
    spec = importlib.util.find_spec("axe_core_python")
    places = [Path(os.environ.get("AXE_SCRIPT", "")), *(Path(p) / "axe.min.js" for p in _folders(spec))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        pytest.skip("axe-core-python is not installed, and AXE_SCRIPT names no file")
    return found.read_text(encoding="utf-8")


def _folders(spec: ModuleSpec | None) -> list[str]:
    return list(spec.submodule_search_locations or ()) if spec else []
