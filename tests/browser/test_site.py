"""The built site as a person meets it: offline, by keyboard, in both colour schemes and on a phone."""

from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By

from tests.browser.conftest import Browser

pytestmark = pytest.mark.browser
REPORT = "investigations/fact-recall/"
WITHOUT_PICTURES = "investigations/a-second-one/"
EVIDENCE = """95 % interval|120 prompts|other_rank|select half|Run|b71cb71cb71c|float32|tiny-llama|cpu
torch 2.13.0|2026-01-31|mech run --name made-up/lens""".replace("\n", "|").split("|")
DRAWN = "document.querySelectorAll('.mech-chart[data-state=drawn] svg.marks').length == 2"

CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


def press(browser: Browser, *keys: str) -> None:
    ActionChains(browser.driver).send_keys(*keys).perform()


def test_every_page_loads_without_a_complaint(browser: Browser, each_page: list[str]) -> None:
    for page in each_page:
        browser.open(page)
        browser.until("document.readyState == 'complete' && !!window.document$")
        assert browser.run("return document.querySelectorAll('h1').length") == 1, page


def test_charts_are_drawn_for_the_scheme_and_again_when_it_changes(browser: Browser) -> None:
    browser.open(REPORT)
    browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
    browser.until(DRAWN)
    label = "getComputedStyle(document.querySelector('.mech-chart svg.marks .role-axis-title text')).fill"
    light = browser.run(f"return {label}")
    browser.run("document.querySelector('#__palette_2').click()")
    browser.until(f"document.body.dataset.mdColorScheme == 'slate' && {label} != '{light}'")
    assert light == "rgb(27, 32, 38)"
    assert browser.run(f"return {label}") == "rgb(227, 231, 236)"
    drawing = browser.driver.find_element(By.CSS_SELECTOR, ".mech-chart .mech-drawing")
    picture = browser.driver.find_element(By.CSS_SELECTOR, ".mech-chart .mech-picture")
    assert drawing.aria_role == "image" and "layer" in drawing.accessible_name
    assert not picture.is_displayed()


def test_charts_are_drawn_after_instant_navigation(browser: Browser) -> None:
    browser.open("")
    browser.until("!!window.document$")
    assert not [url for url in browser.requests() if "vega" in url]
    browser.run("window.sameDocument = true")
    browser.driver.find_element(By.CSS_SELECTOR, ".mech-panel h2 a").click()
    browser.until(f"location.pathname.endsWith('{REPORT}') && !!document.querySelector('.mech-chart')")
    browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
    browser.until(DRAWN)
    assert browser.run("return window.sameDocument") is True
    browser.driver.back()
    browser.until("!!document.querySelector('.mech-panel')")
    assert browser.run("return window.sameDocument") is True


def test_a_number_opens_its_evidence_by_keyboard(browser: Browser) -> None:
    browser.open(REPORT)
    browser.until("!!window.document$")
    number = browser.driver.find_element(By.ID, "lens.final_rank")
    browser.run("arguments[0].focus()", number)
    press(browser, Keys.ENTER)
    browser.until("!!document.querySelector('.mech-popover:popover-open')")
    popover = browser.driver.find_element(By.CSS_SELECTOR, ".mech-popover:popover-open")
    for fact in (
        "95 % interval",
        "120 prompts",
        "other_rank",
        "select half",
        "Run",
        "b71cb71cb71c",
        "float32",
    ):
        assert fact in popover.text, fact
    for fact in ("tiny-llama", "cpu", "torch 2.13.0", "2026-01-31", "mech run --name made-up/lens"):
        assert fact in popover.text, fact
    box, below = popover.rect, number.rect["y"] + number.rect["height"]
    assert abs(box["y"] - below) < 40 and box["x"] + box["width"] <= 1280
    press(browser, Keys.ESCAPE)
    browser.until("!document.querySelector('.mech-popover:popover-open')")
    assert browser.driver.switch_to.active_element == number


OPEN = "document.querySelector('.mech-popover:popover-open')"


@pytest.mark.parametrize(
    ("anchor", "title"),
    [
        ("lens.final_rank", "lens.final_rank"),
        ("lens.final_rank-tiny-gpt2", "lens.final_rank"),
        ("claim.mostly-known", "Claim mostly-known"),
    ],
)
@pytest.mark.parametrize("width", [1280, 390])
def test_the_address_of_a_number_or_a_claim_opens_its_evidence(
    browser: Browser, anchor: str, title: str, width: int
) -> None:
    browser.open(f"{REPORT}#{anchor}", width=width)
    browser.until(f"!!{OPEN}")
    assert browser.driver.find_element(By.CSS_SELECTOR, ":popover-open .mech-popover-title").text == title
    place = browser.run(
        "return document.getElementById(arguments[0]).getBoundingClientRect().toJSON()", anchor
    )
    # Seen beside its evidence: on a phone that is a sheet over the lower part of the screen.
    evidence = browser.run(f"return {OPEN}.getBoundingClientRect().toJSON()")
    assert 0 < place["top"] < (evidence["top"] if width == 390 else 900)
    assert browser.run("return document.activeElement.closest('[id]').id") == anchor
    # Another one, by a link on the same page.
    press(browser, Keys.ESCAPE)
    browser.run("location.hash = '#lens.n_kept'")
    browser.until(f"{OPEN}?.innerText.startsWith('lens.n_kept')")


def test_a_link_on_another_page_opens_the_evidence_of_a_number(browser: Browser) -> None:
    browser.open("investigations/")
    browser.until("!!window.document$")
    browser.run("window.sameDocument = true")
    browser.run("document.querySelector('.mech-index a').hash = 'lens.n_kept'")
    browser.driver.find_element(By.CSS_SELECTOR, ".mech-index a").click()
    browser.until(f"{OPEN}?.innerText.startsWith('lens.n_kept')")
    assert browser.run("return window.sameDocument") is True


def test_an_address_that_names_nothing_opens_nothing(browser: Browser) -> None:
    for anchor in ("no-such-number", "%E0%A4%A", "where-the-answer-appears", "'\"]<b>"):
        browser.open(f"{REPORT}#{anchor}")
        browser.until("!!window.document$ && document.readyState == 'complete'")
        assert browser.run(f"return {OPEN}") is None


def test_the_link_to_a_number_is_copied_by_keyboard_and_said(browser: Browser) -> None:
    allowed = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    permission = {"origin": browser.site.split("/some/")[0], "permissions": allowed}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", permission)
    browser.open(f"{REPORT}?h=rank#claim.mostly-known")
    browser.until(f"!!{OPEN}")
    copy = browser.driver.find_element(By.CSS_SELECTOR, ":popover-open .mech-copy-link")
    browser.run("arguments[0].focus()", copy)
    press(browser, Keys.ENTER)
    browser.until("document.querySelector('[role=status].mech-alt').textContent == 'Copied'")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied == f"{browser.site}{REPORT}#claim.mostly-known"


def test_where_nothing_may_be_copied_the_link_is_shown_and_selected(browser: Browser) -> None:
    browser.open(f"{REPORT}#lens.final_rank-tiny-gpt2")
    browser.until(f"!!{OPEN}")
    browser.run("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    copy = browser.driver.find_element(By.CSS_SELECTOR, ":popover-open .mech-copy-link")
    browser.run("arguments[0].focus()", copy)
    press(browser, Keys.SPACE)
    address = f"{browser.site}{REPORT}#lens.final_rank-tiny-gpt2"
    browser.until(f"String(getSelection()) == '{address}'")


def test_without_scripts_the_address_of_a_number_scrolls_there(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(f"{REPORT}#claim.heads-write", height=300)
        claim = browser.driver.find_element(By.ID, "claim.heads-write")
        assert 0 <= claim.rect["y"] - browser.driver.execute_cdp_cmd(
            "Page.getLayoutMetrics", {}
        )["cssVisualViewport"]["pageY"] < 300  # fmt: skip
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("page", ["", "investigations/"])
def test_on_pages_that_list_investigations_an_interval_stands_behind_its_number(
    browser: Browser, page: str
) -> None:
    browser.open(page)
    browser.until("!!window.document$")
    assert "95 % CI" not in browser.driver.find_element(By.TAG_NAME, "article").text
    number = browser.driver.find_element(By.ID, "lens.final_rank-of-fact-recall")
    browser.run("arguments[0].scrollIntoView(); arguments[0].focus()", number)
    press(browser, Keys.ENTER)
    browser.until("!!document.querySelector('.mech-popover:popover-open')")
    assert "9 to 16" in browser.driver.find_element(By.CSS_SELECTOR, ".mech-popover:popover-open").text


def test_a_verdict_says_in_words_what_was_measured(browser: Browser) -> None:
    browser.open(REPORT)
    words = [v.text for v in browser.driver.find_elements(By.CSS_SELECTOR, ".mech-claim .mech-verdict")]
    assert words == ["supported", "broken: the text says supported, measured contradicted", "undetermined"]
    signs = [
        browser.run("return getComputedStyle(arguments[0], '::before').content", v)
        for v in browser.driver.find_elements(By.CSS_SELECTOR, ".mech-claim .mech-verdict")
    ]
    assert len(set(signs)) == 3


def test_nothing_is_wider_than_a_phone(browser: Browser, each_page: list[str]) -> None:
    for page in each_page:
        browser.open(page, width=390, height=844)
        browser.until("document.readyState == 'complete'")
        browser.run("document.querySelectorAll('.mech-chart').forEach(c => c.scrollIntoView())")
        if page == REPORT:
            browser.until(DRAWN)
        assert browser.run("return document.documentElement.scrollWidth") == 390, page


@pytest.mark.parametrize("width", [1280, 375])
def test_no_word_of_a_reference_table_is_torn(browser: Browser, width: int) -> None:
    browser.open("reference/families/logit_lens/", width=width)
    torn = """return [...document.querySelectorAll("td code")]
        .filter(c => !/\\s/.test(c.textContent) && c.getClientRects().length > 1).map(c => c.textContent)"""
    assert browser.run("return document.querySelectorAll('td code').length") > 10
    assert browser.run(torn) == []


def test_on_a_phone_the_evidence_is_a_sheet_at_the_bottom(browser: Browser) -> None:
    browser.open(REPORT, width=390, height=844)
    browser.until("!!window.document$")
    browser.driver.find_element(By.CSS_SELECTOR, "button.mech-number").click()
    browser.until("!!document.querySelector('.mech-popover:popover-open')")
    box = browser.run(
        "return document.querySelector('.mech-popover:popover-open').getBoundingClientRect().toJSON()"
    )
    assert (box["left"], box["right"], box["bottom"]) == (0, 390, 844)
    browser.driver.find_element(By.CSS_SELECTOR, ".mech-popover:popover-open .mech-close").click()
    browser.until("!document.querySelector('.mech-popover:popover-open')")


def test_the_index_is_sorted_by_its_header_buttons(browser: Browser) -> None:
    browser.open("investigations/")
    browser.until("document.querySelectorAll('.mech-sort').length == 6")
    first = "document.querySelector('.mech-index tbody a').textContent"
    header = browser.driver.find_element(By.CSS_SELECTOR, ".mech-index th")
    browser.run("arguments[0].focus()", header.find_element(By.TAG_NAME, "button"))
    press(browser, Keys.ENTER)
    assert header.get_attribute("aria-sort") == "ascending"
    assert browser.run(f"return {first}") == "A second question?"
    press(browser, Keys.ENTER)
    assert header.get_attribute("aria-sort") == "descending"
    assert browser.run(f"return {first}") == "How does a model recall a fact?"


def test_a_prompt_that_is_a_script_is_text(browser: Browser) -> None:
    browser.open(REPORT)
    browser.until("!!window.document$")
    cell = browser.driver.find_element(By.CSS_SELECTOR, ".mech-table td")
    assert cell.text.startswith("<script>document.title = 'owned'</script> **bold** {{ 7 * 7 }} | `code`")
    assert "owned" not in browser.driver.title


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser: Browser, scheme: str) -> None:
    for page in ("", "investigations/", REPORT, "getting-started/"):
        browser.open(page, scheme=scheme)
        browser.until("!!window.document$")
        assert browser.run(CONTRAST) == [], page


def test_search_works_from_a_file_server(browser: Browser) -> None:
    browser.open("getting-started/")
    browser.until("!!window.document$")
    press(browser, "/")
    browser.until("document.querySelector('[data-md-component=search-query]') == document.activeElement")
    press(browser, "unit of sampling")
    browser.until("!!document.querySelector('.md-search-result__link')")
    assert "reading-the-evidence" in browser.run(
        "return document.querySelector('.md-search-result__link').href"
    )


def test_without_scripts_the_words_and_the_data_are_there(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(REPORT)
        text = browser.driver.find_element(By.TAG_NAME, "article").text
        assert "Rank of the answer by layer." in text and "Data (CSV)" in text
        browser.open(WITHOUT_PICTURES)
        text = browser.driver.find_element(By.TAG_NAME, "article").text
        assert "This chart is drawn by a script. Rank of the answer by layer." in text
        browser.open("investigations/")
        assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".mech-index tbody tr")) == 2
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
