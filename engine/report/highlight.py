"""Table cells with marked tokens (engine/evidence/marked.py): highlighted on the site, in «» elsewhere.

The strongest token of a cell has the full colour, the others have it in proportion; each says its strength
when it is pointed at.
"""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from engine.evidence.marked import is_marked, segments_of
from engine.report.escape import for_site


def site_cell(value: object) -> Markup:
    """A cell for the site: `<mark class="mech-token" style="--mech-strength: 62%" title="3.41">`."""
    if hasattr(value, "__html__") or not is_marked(value):
        return for_site(value)
    parts = list(segments_of(str(value)))
    strongest = max(part.strength for part in parts) or 1.0
    return Markup("".join(_site_part(text, strength, strongest) for text, strength in parts))


def _site_part(text: str, strength: float, strongest: float) -> str:
    shown = for_site(text or " ")
    if strength <= 0:
        return str(shown)
    share = round(100 * strength / strongest)
    style = f"--mech-strength: {share}%"
    return f'<mark class="mech-token" style="{style}" title="{strength:.3g}">{shown}</mark>'


def text_cell(value: object, escape: Callable[[object], Markup]) -> Markup:
    """A cell for print and plain text."""
    if not is_marked(value):
        return escape(value)
    shown = [f"«{escape(t)}»" if strength > 0 else str(escape(t)) for t, strength in segments_of(str(value))]
    return Markup("".join(shown))
