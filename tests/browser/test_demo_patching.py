"""The patching panel in a browser, on the default model: a reader types, clicks a cell, follows the link."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from engine.demo.app import build_app
from engine.demo.live_model import LiveModel
from engine.demo.panels import circuit_patching
from engine.demo.server import DemoServer, web_app
from engine.demo.server_address import ServerAddress, bound_socket
from tests.browser.conftest import Browser
from tests.browser.test_demo import OWN_MARKUP, violations

pytestmark = [
    pytest.mark.browser,
    pytest.mark.model,
    # Of Gradio's own, which sets an option that pandas 3 has no more use for.
    pytest.mark.filterwarnings("ignore:'future.no_silent_downcasting':DeprecationWarning"),
]
SECONDS = 120.0  # for one answer, on a machine that does other things
PAIR = {
    "clean": "Fact: The capital of Germany is",
    "corrupted": "Fact: The capital of Spain is",
    "answer": "Berlin",
    "wrong_answer": "Madrid",
}
START = {"panel": "patching", **PAIR, "position": "-1"}
TEXT = "(document.querySelector('#panel-patching')?.innerText ?? '')"


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of a demo of this panel."""
    live = LiveModel("smollm2-135m-instruct")
    live.load()
    taken = bound_socket(ServerAddress(port=0))
    address = ServerAddress(port=taken.getsockname()[1])
    server = DemoServer(web_app(build_app(live, [circuit_patching.PANEL]), address), taken)
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


def until(page: Browser, condition: str) -> None:
    """Wait for an answer, which may take longer than a page."""
    WebDriverWait(page.driver, SECONDS, 0.05).until(lambda _: page.run(f"return {condition}"), condition)


def addressed(page: Browser, **fields: str) -> None:
    """Wait until what is shown is the state with these fields."""
    wanted = {name: [value] for name, value in fields.items()}

    def held(driver: Chrome) -> bool:
        query = parse_qs(urlsplit(driver.current_url).query)
        return all(query.get(name) == value for name, value in wanted.items())

    WebDriverWait(page.driver, SECONDS, 0.05).until(held, f"{wanted} in the address")


def drawn(page: Browser, n_cells: int) -> list[WebElement]:
    """The cells of the map, once it is drawn: another map may stand there until then."""
    cells = ".mech-chart[data-state=drawn] .mark-rect.role-mark path"
    # A chart is drawn when it comes into view.
    seen = "document.querySelector('.mech-chart')?.scrollIntoView({block: 'center'})"
    until(page, f"({seen}, document.querySelectorAll('{cells}').length == {n_cells})")
    return page.driver.find_elements(By.CSS_SELECTOR, cells)


def write(page: Browser, label: str, text: str) -> WebElement:
    """Type a text in place of what stands in the box under a label."""
    xpath = f"//label[contains(., '{label}')]//*[self::textarea or self::input]"
    box = page.driver.find_element(By.XPATH, xpath)
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text)
    return box


def test_a_reader_types_a_pair_clicks_a_cell_and_follows_the_link(page: Browser) -> None:
    page.open("?panel=patching")
    until(page, f"{TEXT}.includes('Done.')")
    write(page, "Clean prompt", PAIR["clean"])
    write(page, "Corrupted prompt", PAIR["corrupted"])
    write(page, "Wrong answer", PAIR["wrong_answer"])
    until(page, f"{TEXT}.includes('7 tokens each; they differ at position 5.')")
    write(page, "of the clean prompt", PAIR["answer"])
    page.driver.find_element(By.CSS_SELECTOR, "#panel-patching .mech-run").click()
    # What was chosen of the first pair is no choice of this one.
    addressed(page, position="-1", clean=PAIR["clean"])
    cell = drawn(page, n_cells=30 * 7)[7 * 3 + 5]
    page.run("arguments[0].scrollIntoView({block: 'center'})", cell)
    ActionChains(page.driver).move_to_element(cell).click().perform()
    addressed(page, clean=PAIR["clean"], layer="3")
    words = page.run(f"return {TEXT}")
    assert "Patching resid_pre at layer 3, position 5 (clean ␣Germany, corrupted ␣Spain)" in words
    # The whole stream at the only token that differs carries nearly all of the fact that early.
    effect = float(words.partition("That is an effect of ")[2].partition(".\n")[0])
    assert effect > 0.8
    link = page.driver.find_element(By.CSS_SELECTOR, ".mech-permalink").get_attribute("href")
    page.driver.get("about:blank")
    page.driver.get(str(link))
    until(page, f"{TEXT}.includes('That is an effect of {effect:.3f}.')")
    assert "at layer 3, position 5 (clean ␣Germany" in page.run(f"return {TEXT}")


def test_a_token_too_many_is_told_while_it_is_typed_and_when_it_is_run(page: Browser) -> None:
    page.open("?" + urlencode(START))
    until(page, f"{TEXT}.includes('Done.')")
    box = write(page, "Corrupted prompt", "Fact: The capital of South Korea is")
    until(page, f"{TEXT}.includes('in the corrupted prompt ␣Korea at position 6 is too many')")
    box.send_keys(Keys.ENTER)
    until(page, "!!document.querySelector('#panel-patching [role=alert]')")
    alert = page.driver.find_element(By.CSS_SELECTOR, "#panel-patching [role=alert]").text
    assert "Clean has 7 tokens, corrupted 8".lower() in alert.lower()


def test_a_cell_is_chosen_by_keyboard_and_keeps_the_focus(page: Browser) -> None:
    page.open("?" + urlencode(START))
    until(page, f"{TEXT}.includes('Done.')")
    page.driver.find_element(By.CSS_SELECTOR, "[data-fold=map] summary").send_keys(Keys.ENTER)
    chosen = page.driver.find_element(By.CSS_SELECTOR, ".mech-cells [aria-pressed=true]")
    assert page.run("return document.querySelectorAll('.mech-cells [tabindex=\"0\"]').length") == 1
    chosen.send_keys(Keys.ARROW_LEFT)
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    focused = page.driver.switch_to.active_element
    assert (focused.accessible_name or "").startswith("layer 1, position and token patched 5 ␣Spain")
    focused.send_keys(Keys.ENTER)
    addressed(page, layer="1")
    until(page, "document.activeElement?.getAttribute('aria-pressed') == 'true'")
    assert page.run("return document.querySelector('[data-fold=map]').open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_panel(page: Browser, scheme: str) -> None:
    page.open("?" + urlencode(START), scheme=scheme)
    drawn(page, n_cells=30 * 7)
    page.run("document.querySelectorAll('#panel-patching details').forEach(fold => fold.open = true)")
    assert violations(page, OWN_MARKUP) == []


def test_markup_is_text_and_a_phone_scrolls_downwards_only(page: Browser) -> None:
    hostile = "<img src=x onerror='owned=1'><script>owned=1</script>"
    state = START | {"clean": f"{hostile} Germany is", "corrupted": f"{hostile} Spain is"}
    page.open("?" + urlencode(state), width=390, height=800)
    count = "document.querySelectorAll('.mech-tokens thead th').length - 1"
    until(page, f"{TEXT}.includes('Done.')")
    drawn(page, n_cells=30 * page.run(f"return {count}"))
    assert page.run("return window.owned") is None
    assert page.run("return document.querySelectorAll('#panel-patching img').length") == 0
    assert page.run("return document.documentElement.scrollWidth") <= 390
