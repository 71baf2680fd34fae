"""How a page says to be cited, in the browser: the entry is copied, the head and the feed can be read."""

from __future__ import annotations

import pytest
from pybtex.database import parse_string
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser
REPORT = "investigations/fact-recall/"


def content(browser: Browser, name: str) -> str | None:
    tags = f"meta[name='{name}'], meta[property='{name}']"
    return browser.run("return document.querySelector(arguments[0])?.content", tags)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_entry_is_copied_by_keyboard(browser: Browser, width: int) -> None:
    allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    permission = {"origin": browser.site.split("/some/")[0], "permissions": allowed}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permission)
    browser.open(f"{REPORT}#cite-this", width=width)
    browser.until("document.querySelector('.mech-bibtex .mech-copy')?.hidden === false")
    button = browser.driver.find_element(By.CSS_SELECTOR, ".mech-bibtex .mech-copy")
    assert button.is_displayed() and button.text == "Copy BibTeX"
    browser.run("arguments[0].focus()", button)
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    browser.until("document.querySelector('[role=status].mech-alt').textContent == 'Copied'")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert list(parse_string(copied, "bibtex").entries) == ["fact-recall"]
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_the_head_says_what_the_page_is(browser: Browser) -> None:
    browser.open(REPORT)
    assert content(browser, "citation_title") == "How does a model recall a fact?"
    assert content(browser, "citation_publication_date") == "2026/01/31"
    assert content(browser, "og:type") == "article"
    canonical = browser.run("return document.querySelector('link[rel=canonical]').href")
    assert content(browser, "og:url") == canonical
    assert content(browser, "og:image") == f"{canonical}social.png"
    assert content(browser, "description") == content(browser, "og:description")
    browser.open("getting-started/")
    assert content(browser, "og:type") == "website" and content(browser, "citation_title") is None


def test_the_feed_of_the_head_can_be_read(browser: Browser) -> None:
    browser.open(REPORT)
    read = """const done = arguments[0], link = document.querySelector("link[type='application/atom+xml']")
    fetch(link.href).then(answer => answer.text()).then(text => {
        const feed = new DOMParser().parseFromString(text, "application/xml")
        done([...feed.querySelectorAll("parsererror, entry > title")].map(found => found.textContent))
    })"""
    titles = browser.driver.execute_async_script(read)
    assert titles == ["How does a model recall a fact?", "A second question?"]
