"""What is said of a report on pages that list many: its own ids, and evidence in brief."""

from __future__ import annotations

import re
from dataclasses import replace

from engine.report.render import Listing, render
from engine.runs.ledger import Ledger
from engine.spec.models import KeyNumber
from tests.report.test_render import PATH


def listed(ledger: Ledger, slug: str) -> Listing:
    numbers = [KeyNumber(number="lens.final_rank", says="rank")]
    spec = ledger.spec.model_copy(update={"key_numbers": numbers})
    return render(replace(ledger, slug=slug, spec=spec), "", PATH).listing


def test_two_investigations_on_one_page_have_no_id_in_common(ledger: Ledger) -> None:
    both = [listed(ledger, slug) for slug in ("one", "another")]
    ids = [set(re.findall(r'\bid="([^"]+)"', part.headline + part.popovers)) for part in both]
    assert ids[0] and not ids[0] & ids[1]
    for part in both:
        opened = set(re.findall(r'popovertarget="([^"]+)" aria', part.headline + part.key_numbers))
        assert opened == set(re.findall(r'popover id="([^"]+)"', part.popovers))


def test_the_evidence_is_brief_and_holds_the_interval(ledger: Ledger) -> None:
    popovers = listed(ledger, "one").popovers
    for fact in ("9 to 16", "120 prompts", "other&#x5F;rank", "tiny-llama", "2026-01-31"):
        assert fact in popovers
    assert "torch" not in popovers and "mech run" not in popovers
