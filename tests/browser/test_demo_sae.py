"""The panel of features in a browser, on the default model and the packaged dictionaries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from engine.demo.app import build_app
from engine.demo.live_model import LiveModel
from engine.demo.panels import sae_features
from engine.demo.server import DemoServer, web_app
from engine.demo.server_address import ServerAddress, bound_socket
from engine.models.known import KNOWN
from tests.browser.conftest import Browser
from tests.browser.test_demo import DRAWN, OWN_MARKUP, field, query, shown, violations

pytestmark = [pytest.mark.browser, pytest.mark.model]
PANEL = "#panel-sae"
READY = f"{DRAWN} > 0 && !!document.querySelector('{PANEL} .mech-permalink')"
TO_CHART = "document.querySelector('.mech-chart').scrollIntoView()"


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of a demo of the default model with this panel alone."""
    live = LiveModel(KNOWN[0].name)
    live.load()
    taken = bound_socket(ServerAddress(port=0))
    address = ServerAddress(port=taken.getsockname()[1])
    server = DemoServer(web_app(build_app(live, [sae_features.PANEL]), address), taken)
    server.start()
    yield f"http://127.0.0.1:{address.port}/"
    server.close()


@pytest.fixture
def page(driver: Chrome, demo: str) -> Iterator[Browser]:
    """A fresh page of the demo; afterwards nothing left the host and nothing went wrong."""
    driver.get("about:blank")
    found = Browser(driver, demo)
    found.requests()
    found.complaints()
    yield found
    assert [url for url in found.requests() if not url.startswith((demo, "about:"))] == []
    assert found.complaints() == []


def test_a_token_is_reached_by_keyboard_and_shows_its_value(page: Browser) -> None:
    page.open("?panel=sae&latent=541")
    page.until(READY)
    shown(page, "Latent 541 on the text")
    mark = page.driver.find_element(By.CSS_SELECTOR, ".mech-tokens mark")
    value = mark.find_element(By.CSS_SELECTOR, ".mech-value")
    assert value.size["width"] <= 1
    page.run("arguments[0].focus()", mark)
    assert page.run("return document.activeElement === arguments[0]", mark)
    page.until("document.activeElement.querySelector('.mech-value').offsetWidth > 20")
    assert value.text.startswith("(")


def test_a_click_on_a_cell_chooses_its_latent_and_a_word_is_searched_for(page: Browser) -> None:
    page.open("?panel=sae")
    page.until(READY)
    cells = page.driver.find_elements(By.CSS_SELECTOR, f"{PANEL} .mark-rect.role-mark path")
    ActionChains(page.driver).move_to_element(cells[-1]).click().perform()
    page.until("location.search.includes('latent=')")
    latent = query(page)["latent"][0]
    shown(page, f"Latent {latent} on the text")
    box = field(page, "Search by token")
    box.send_keys("the", Keys.ENTER)
    shown(page, "comes")
    shown(page, "Latents by token")
    assert query(page)["token"] == ["the"]


def test_a_latent_out_of_range_is_one_message(page: Browser) -> None:
    page.open("?panel=sae&latent=640")
    shown(page, "has no latent 640")
    assert "0 to 639" in page.driver.find_element(By.CSS_SELECTOR, f"{PANEL} [role=alert]").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_panel(page: Browser, scheme: str) -> None:
    page.open("?panel=sae&token=the", scheme=scheme)
    page.until("!!document.querySelector('.mech-chart')")
    page.run(TO_CHART)
    page.until(READY)
    page.run(f"document.querySelectorAll('{PANEL} details').forEach(fold => fold.open = true)")
    assert violations(page, OWN_MARKUP) == []


def test_a_phone_scrolls_downwards_only(page: Browser) -> None:
    page.open("?panel=sae&token=the", width=390, height=800)
    page.until("!!document.querySelector('.mech-chart')")
    page.run(TO_CHART)  # a chart is drawn once it is near
    page.until(READY)
    assert page.run("return document.documentElement.scrollWidth") <= 390
