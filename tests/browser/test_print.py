"""The site on paper, without scripts and from a folder: charts are pictures, folds as they were left."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser
REPORT = "investigations/fact-recall/"
WITHOUT_PICTURES = "investigations/a-second-one/"
DRAWN = "document.querySelectorAll('.mech-chart[data-state=drawn] svg.marks').length == 2"
SEEN = """[...document.querySelectorAll(".mech-picture")]
    .filter(p => p.checkVisibility({visibilityProperty: true}) && p.naturalWidth > 200).length"""
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"
WHITE = "rgb(255, 255, 255)"
CUT = """const page = document.querySelector(".md-content").getBoundingClientRect().right
    return [...document.querySelectorAll("article table, article td, article th, article pre")]
    .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > page + 1).length"""


@contextmanager
def media(browser: Browser, name: str, scheme: str = "light") -> Iterator[None]:
    """The page as this medium shows it."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": name, "features": features})
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})


@contextmanager
def no_scripts(browser: Browser) -> Iterator[None]:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        yield
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def printed_pages(browser: Browser) -> int:
    """How many pages the browser prints, as a person would have it print."""
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    return len(re.findall(rb"/Type\s*/Page\b(?!s)", base64.b64decode(pdf)))


def test_without_scripts_each_chart_is_its_picture(browser: Browser) -> None:
    with no_scripts(browser):
        browser.open(REPORT)
        pictures = browser.driver.find_elements(By.CSS_SELECTOR, ".mech-chart .mech-picture")
        assert len(pictures) == 2
        for picture in pictures:
            assert picture.is_displayed() and int(str(picture.get_property("naturalWidth"))) > 200
            assert "layer" in str(picture.get_attribute("alt"))


def test_without_scripts_a_picture_fits_a_phone(browser: Browser) -> None:
    with no_scripts(browser):
        browser.open(REPORT, width=390, height=844)
        for picture in browser.driver.find_elements(By.CSS_SELECTOR, ".mech-chart .mech-picture"):
            assert picture.rect["x"] >= 0 and picture.rect["x"] + picture.rect["width"] <= 390


def test_on_paper_charts_are_pictures_on_white_in_the_dark_too(browser: Browser) -> None:
    browser.open(REPORT, scheme="dark")
    browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
    browser.until(DRAWN)
    assert browser.run("return document.body.dataset.mdColorScheme") == "slate"
    assert browser.run(BACKGROUND) != WHITE and browser.run(f"return {SEEN}") == 0
    with media(browser, "print", "dark"):
        assert browser.run(BACKGROUND) == WHITE
        browser.until(f"{SEEN} == 2")
        drawings = browser.driver.find_elements(By.CSS_SELECTOR, ".mech-drawing")
        assert len(drawings) == 2 and not any(drawing.is_displayed() for drawing in drawings)
        ink = browser.run("return getComputedStyle(document.querySelector('article h2')).color")
        assert ink == "rgb(27, 32, 38)"


def test_on_paper_there_is_nothing_to_press(browser: Browser) -> None:
    browser.open(REPORT)
    browser.until("!!window.document$")
    hidden = (
        ".md-header, .md-tabs, .md-sidebar, .md-footer, .md-top, .mech-downloads, .mech-popovers, .headerlink"
    )
    shown = f"return [...document.querySelectorAll('{hidden}')].filter(e => e.checkVisibility()).length"
    assert browser.run(shown) > 5
    with media(browser, "print"):
        assert browser.run(shown) == 0


def test_on_paper_no_table_is_cut(browser: Browser) -> None:
    browser.open(REPORT, width=680)
    browser.until("!!window.document$")
    cells = "document.querySelectorAll('.mech-table td')"
    browser.run(f"{cells}.forEach(cell => cell.textContent += ' a_word_that_is_rather_long'.repeat(4))")
    with media(browser, "print"):
        assert browser.run(CUT) == 0
        assert browser.run("return document.documentElement.scrollWidth") <= 680


def test_printed_folds_are_as_the_reader_left_them(browser: Browser) -> None:
    browser.open(REPORT)
    browser.until("!!window.document$")
    folds = browser.driver.find_elements(By.CSS_SELECTOR, "details.mech-fold")
    inside = "document.querySelectorAll('details.mech-fold > :not(summary)')"
    browser.run(f"{inside}.forEach(element => element.style.height = '5000px')")
    closed = printed_pages(browser)
    assert closed < 10
    # The theme opens them all to print, and closes them again.
    assert not any(fold.get_attribute("open") for fold in folds)
    browser.run("arguments[0].scrollIntoView({block: 'center'})", folds[0])
    folds[0].find_element(By.TAG_NAME, "summary").click()
    browser.until("document.querySelectorAll('details.mech-opened').length == 1")
    assert printed_pages(browser) >= closed + 4
    folds[0].find_element(By.TAG_NAME, "summary").click()
    browser.until("document.querySelectorAll('details.mech-opened').length == 0")
    assert printed_pages(browser) == closed


def test_a_chart_without_a_picture_is_drawn_by_the_script(browser: Browser) -> None:
    browser.open(WITHOUT_PICTURES)
    browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
    browser.until(DRAWN)
    with media(browser, "print"):
        drawings = browser.driver.find_elements(By.CSS_SELECTOR, ".mech-drawing")
        assert len(drawings) == 2 and all(drawing.is_displayed() for drawing in drawings)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_from_a_folder_the_picture_is_the_chart(browser: Browser, www: Path, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.driver.get(f"{(www / 'some' / 'path').as_uri()}/{REPORT}index.html")
    browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
    browser.until("document.querySelectorAll('.mech-chart[data-state=still]').length == 2")
    browser.until(f"{SEEN} == 2")
    asked = browser.requests()
    assert asked and all(url.startswith("file:") for url in asked)
    # The theme's own search and navigation ask for what no page in a folder may read.
    assert not [said for said in browser.complaints() if "chart" in said or "mech.js" in said]
