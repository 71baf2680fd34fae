"""The content security policy in a browser: what a stranger would try is blocked, the site itself is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer

import pandas as pd
import pytest

from engine.evidence.result import Figure
from engine.report.charts.draw import draw
from engine.report.printers.standalone import StandalonePrinter
from tests.browser.conftest import Browser, Quiet

pytestmark = pytest.mark.browser
REPORT = "investigations/fact-recall/"
WATCH = """
window.owned = []
window.blocked = []
addEventListener("securitypolicyviolation", event => blocked.push(event.effectiveDirective))
"""
# Each sets `owned` where it gets through. `eval` waits for a turn of its own: what a debugger runs may eval.
ATTACKS = {
    "an inline script": """
        const script = document.createElement("script")
        script.textContent = "owned.push('inline')"
        document.body.append(script)""",
    "a script of another host": """
        const script = document.createElement("script")
        script.src = "https://other.invalid/x.js"
        document.body.append(script)""",
    "a script as data": """
        const script = document.createElement("script")
        script.src = "data:text/javascript,owned.push('data')"
        document.body.append(script)""",
    "eval": """
        setTimeout(() => { try { eval("owned.push('eval')") } catch { } })""",
    "a function of text": """
        setTimeout(() => { try { new Function("owned.push('function')")() } catch { } })""",
    "a timer of text": """
        setTimeout(() => setTimeout("owned.push('timer')"))""",
    "an event attribute": """
        document.body.insertAdjacentHTML("beforeend", "<b id='here' onclick='owned.push(1)'>here</b>")
        document.getElementById("here").click()""",
    "a javascript: link": """
        document.body.insertAdjacentHTML("beforeend", "<a id='go' href='javascript:owned.push(2)'>go</a>")
        document.getElementById("go").click()""",
    "an image of another host": """
        const image = new Image()
        image.onload = () => owned.push("image")
        image.src = "https://other.invalid/x.png"
        document.body.append(image)""",
    "a request to another host": """
        fetch("https://other.invalid/x").then(() => owned.push("fetch"), () => {})""",
    "a frame": """
        const frame = document.createElement("iframe")
        frame.src = "https://other.invalid/"
        document.body.append(frame)""",
    "a worker of text": """
        const blob = new Blob(["postMessage(1)"], {type: "text/javascript"})
        try { new Worker(URL.createObjectURL(blob)).onmessage = () => owned.push("worker") } catch { }""",
    "a style sheet of another host": """
        document.head.insertAdjacentHTML("beforeend", "<link rel=stylesheet href='https://other.invalid/x.css'>")""",
    "another base": """
        document.head.insertAdjacentHTML("beforeend", "<base href='https://other.invalid/'>")
        if (document.baseURI.includes("other.invalid")) owned.push("base")""",
}


def attacked(browser: Browser, attack: str) -> None:
    """Try one attack on the page that is open; afterwards it was blocked and left no trace."""
    browser.run(WATCH)
    browser.run(attack)
    browser.until("blocked.length > 0 || owned.length > 0")
    assert browser.run("return owned") == []
    assert browser.run("return blocked.length") > 0
    # Else the fixture takes them for faults of the site. What a script caught is not among them.
    complaints = browser.complaints()
    assert all("Content Security Policy" in said or "CSP" in said for said in complaints), complaints
    browser.requests()


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_stranger_would_try_is_blocked(browser: Browser, attack: str) -> None:
    browser.open(REPORT)
    browser.until("document.readyState == 'complete' && !!window.document$")
    attacked(browser, ATTACKS[attack])


def test_no_page_of_any_type_breaks_its_own_policy(browser: Browser, each_page: list[str]) -> None:
    for page in each_page:
        browser.open(page)
        browser.until("document.readyState == 'complete' && !!window.document$")
        policy = browser.run("return document.querySelector('meta[http-equiv]').content")
        assert "script-src 'self';" in policy and "unsafe-eval" not in policy, page
        # What a policy does not bind is data: no script stands in a page itself.
        scripts = "[...document.scripts].filter(s => !s.src && !/json/.test(s.type)).length"
        assert browser.run(f"return {scripts}") == 0, page
        assert browser.complaints() == [], page


@pytest.fixture
def run_page(driver: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A run's own page with a chart, from a file server."""
    table = pd.DataFrame({"layer": range(5), "rank": [5.0, 4.0, 3.0, 2.0, 1.0], "which": list("aabba")})
    figure = Figure("line", "ranks", {"x": "layer", "y": "rank", "color": "which"}, "Ranks")
    printer = StandalonePrinter({"ranks": table})
    body = printer.chart("ranks", figure, draw(figure, table), "ranks")
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.html").write_text(printer.page("A run", str(body)), encoding="utf-8")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = Browser(driver, f"http://127.0.0.1:{server.server_port}/")  # pyright: ignore[reportArgumentType]
    page.driver.get("about:blank")
    page.complaints()
    yield page
    server.shutdown()
    server.server_close()


def test_a_runs_own_page_draws_its_charts_and_nothing_else(run_page: Browser) -> None:
    run_page.open("run.html")
    run_page.until("!!document.querySelector('.chart svg.marks')")
    assert [said for said in run_page.complaints() if "favicon" not in said] == []
    for attack in ("an inline script", "eval", "an event attribute", "an image of another host"):
        run_page.open("run.html")
        attacked(run_page, ATTACKS[attack])
