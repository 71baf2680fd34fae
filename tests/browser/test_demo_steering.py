"""The steering panel in a browser: four texts that grow, a link with its state, cancelling, a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from engine.demo.app import build_app
from engine.demo.live_model import LiveModel
from engine.demo.panels import steering
from engine.demo.server import DemoServer, web_app
from engine.demo.server_address import ServerAddress, bound_socket
from engine.models.micro import micro_model
from tests.browser.conftest import Browser
from tests.browser.test_demo import OWN_MARKUP, addressed, field, shown, violations

pytestmark = pytest.mark.browser
PAIRED = {
    colour: "\n".join(f"the city of {place} {colour}" for place in ("France", "Spain", "Italy", "Japan"))
    for colour in ("red", "green")
}
STATE = {
    "panel": "steering",
    "prompt": "the city of Spain",
    "vector": "lists",
    "tokens": "6",
    "positive": PAIRED["red"],
    "negative": PAIRED["green"],
}
CARDS = "document.querySelectorAll('.mech-text')"
WHOLE = f"{CARDS}.length === 4 && [...{CARDS}].every(card => card.querySelector('.mech-verdict'))"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The panel alone, on a model that knows no packaged word: what is at hand are lists."""
    server_address = ServerAddress(port=0)
    taken = bound_socket(server_address)
    server_address = ServerAddress(port=taken.getsockname()[1])
    words = ["the", "city", "of", "France", "Spain", "Italy", "Japan", "red", "green"]
    live = LiveModel.of(micro_model(n_layers=3, vocab_words=words))
    panel = replace(steering.PANEL, examples=lambda live: [steering.SteeringState()])
    server = DemoServer(web_app(build_app(live, [panel]), server_address), taken)
    server.start()
    yield f"http://127.0.0.1:{server_address.port}/"
    server.close()


@pytest.fixture
def page(driver: Chrome, address: str) -> Iterator[Browser]:
    driver.get("about:blank")
    found = Browser(driver, address)
    found.requests()
    found.complaints()
    yield found
    assert [url for url in found.requests() if not url.startswith((address, "about:"))] == []
    assert found.complaints() == []


def test_a_link_shows_four_texts_with_their_costs_and_its_own_state(page: Browser) -> None:
    page.open("?" + urlencode(STATE))
    page.until(WHOLE)
    titles = page.run(f"return [...{CARDS}].map(card => card.querySelector('h2').firstChild.textContent)")
    assert [title.strip() for title in titles] == list(steering.TITLES.values())
    assert all("perplexity" in said for said in page.run(f"return [...{CARDS}].map(card => card.innerText)"))
    page.until("document.querySelectorAll('.mech-chart[data-state=drawn]').length === 1")
    shown(page, "of 4 pairs of the two lists")
    addressed(page, **{name: [value] for name, value in STATE.items()})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_panel(page: Browser, scheme: str) -> None:
    page.open("?" + urlencode(STATE), scheme=scheme)
    page.until(WHOLE)
    assert violations(page, [*OWN_MARKUP, ".mech-text"]) == []


def test_what_is_typed_is_steered_and_what_cannot_be_is_told(page: Browser) -> None:
    page.open("?" + urlencode(STATE))
    page.until(WHOLE)
    prompt = field(page, "Prompt")
    prompt.clear()
    prompt.send_keys("the city of Japan")
    run = page.driver.find_element(By.CSS_SELECTOR, "#panel-steering button.primary")
    run.click()
    page.until("document.querySelector('#panel-steering q')?.textContent === 'the city of Japan'")
    page.until(WHOLE)
    prompt.clear()
    prompt.send_keys("   ")
    run.click()
    shown(page, "the prompt is empty")


def test_cancelling_leaves_what_was_written(page: Browser) -> None:
    page.open("?" + urlencode(STATE | {"tokens": "48"}))
    page.until(f"{CARDS}.length === 4")
    page.driver.find_element(By.CSS_SELECTOR, "#panel-steering button.secondary").click()
    shown(page, "Cancelled.")


def test_on_a_phone_the_texts_stand_below_each_other(page: Browser) -> None:
    page.open("?" + urlencode(STATE), width=390, height=844)
    page.until(WHOLE)
    edges = page.run(f"return [...{CARDS}].map(card => card.getBoundingClientRect().right)")
    assert max(edges) <= 390
    lefts = page.run(f"return [...{CARDS}].map(card => card.getBoundingClientRect().left)")
    assert len(set(lefts)) == 1
