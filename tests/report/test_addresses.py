"""Which addresses a reader may be led to: by their scheme, as a browser reads it."""

from __future__ import annotations

import pytest

from engine.report.addresses import WEB, may_be_followed, scheme_of


@pytest.mark.parametrize(
    "address",
    ["a.md", "#a", "https://example.org", "HTTP://example.org", "mailto:a@example.org", "//example.org"],
)
def test_pages_of_the_site_and_of_the_web_may_be_followed(address: str) -> None:
    assert may_be_followed(address)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:x",
        "JAVA&#115;CRIPT:x",
        "java\nscript:x",
        "\u200bjavascript:x",
        "data:text/html,x",
        "file:///",
    ],
)
def test_what_runs_or_reads_files_may_not(address: str) -> None:
    assert not may_be_followed(address)


def test_of_a_reference_the_web_alone_may_be_followed() -> None:
    assert may_be_followed("https://example.org/a", WEB) and may_be_followed("HTTP://example.org", WEB)
    assert not any(
        may_be_followed(address, WEB) for address in ("a.md", "mailto:a@example.org", "//example.org")
    )
    assert scheme_of("a/b:c") == "" and scheme_of("Mailto&colon;a") == "mailto"
