"""A thread in a browser: posts are copied as they are, by keyboard, and it is said; pictures have words."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser

THREAD = "publications/posts/thread/"


def test_a_post_is_copied_by_keyboard_with_its_lines_and_it_is_said(browser: Browser) -> None:
    permission = {
        "origin": browser.site.split("/some/")[0],
        "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
    }
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permission)
    browser.open(THREAD)
    browser.until("document.querySelector('.mech-copy')?.hidden === false")
    button = browser.driver.find_element(By.CSS_SELECTOR, "#post-1 .mech-copy")
    assert button.text == "Copy post 1"
    button.send_keys(Keys.ENTER)
    browser.until("document.querySelector('[role=status].mech-alt').textContent == 'Copied'")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("The rank falls to 13.\n\nSee https://example.org/") and copied.endswith(
        "\n\n1/2"
    )


def test_its_picture_has_words_for_who_does_not_see_it(browser: Browser) -> None:
    browser.open(THREAD)
    image = browser.driver.find_element(By.CSS_SELECTOR, "#post-2 img")
    browser.run("arguments[0].scrollIntoView()", image)
    browser.until("document.querySelector('#post-2 img').naturalWidth > 400")
    assert str(image.get_attribute("alt")).startswith("Rank of the answer by layer.")


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_of_it_is_wider_than_the_page(browser: Browser, width: int, scheme: str) -> None:
    browser.open(THREAD, width=width, scheme=scheme)
    browser.until("document.readyState == 'complete'")
    assert browser.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for card in browser.driver.find_elements(By.CSS_SELECTOR, ".mech-post"):
        assert browser.run("return arguments[0].scrollWidth <= arguments[0].clientWidth + 1", card)


def test_the_list_of_publications_leads_to_it_and_its_claims_to_their_evidence(browser: Browser) -> None:
    browser.open("publications/")
    browser.driver.find_element(By.LINK_TEXT, "Posts").click()
    browser.until(f"location.pathname.endsWith('{THREAD}')")
    claim = browser.driver.find_element(By.LINK_TEXT, "mostly-known")
    assert str(claim.get_attribute("href")).endswith("/investigations/fact-recall/#claim.mostly-known")
