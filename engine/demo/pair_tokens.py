"""The tokens of a pair as they are typed: two rows of a table, and what keeps the pair from being patched."""

from __future__ import annotations

from html import escape

from engine.demo.live_model import LiveModel
from engine.demo.token_alignment import TokenAlignment, TokenColumn
from engine.demo.typed_pair import (
    NAMES,
    PAIR_LIMITS,
    TypedPair,
    aligned_tokens,
    answer_tokens,
    require_answer,
    require_plain_text,
)
from engine.errors import EngineError


def typed_html(live: LiveModel, pair: TypedPair) -> str:
    """The tokens of what is being typed, and what keeps them from being patched."""
    if not live.is_ready:
        return "<p>The tokens are shown once the model is loaded.</p>"
    texts = [pair.clean, pair.corrupted]
    if max(map(len, texts)) > PAIR_LIMITS.characters:
        return f"<p>At most {PAIR_LIMITS.characters:,} characters can be read.</p>"
    said = []
    try:
        for field in ("clean", "corrupted"):
            require_plain_text(getattr(pair, field), NAMES[field])
        ids = live.model.token_ids(texts) if all(map(str.strip, texts)) else [[]]
        if not all(ids):
            return "<p>Both prompts need a text.</p>"
        alignment = aligned_tokens(live.model, *ids)
    except EngineError as error:
        return f"<p>{escape(error.problem)}: {escape(error.seen)}.</p>"
    for field in ("answer", "wrong_answer"):
        try:
            require_plain_text(getattr(pair, field), NAMES[field])
            require_answer(live.model, pair, field, answer_tokens(live.model, pair, field))
        except EngineError as error:
            said.append(f"<p>{escape(error.problem)}{escape(f' ({error.seen})' if error.seen else '')}.</p>")
    return alignment_html(alignment) + "".join(said)


def alignment_html(alignment: TokenAlignment) -> str:
    """Both prompts as the two rows of a table, a column for each position; tokens that differ are marked."""
    columns = alignment.columns[: PAIR_LIMITS.tokens]
    numbers = "".join(f'<th scope="col">{number}</th>' for number in range(len(columns)))
    rows = "".join(
        f'<tr><th scope="row">{side}</th>{"".join(_token_cell(column, side) for column in columns)}</tr>'
        for side in ("clean", "corrupted")
    )
    differing = [str(i) for i, column in enumerate(columns) if column.differs]
    count = len(alignment.columns)
    fine = f"{count} tokens each; they differ at position{'s' * (len(differing) > 1)} {', '.join(differing)}"
    problem = escape(alignment.problem)
    words = f"<strong>{problem[:1].upper()}{problem[1:]}.</strong>" if problem else f"{fine}."
    head = f'<thead><tr><th scope="col">position</th>{numbers}</tr></thead>'
    table = f'<table class="mech-tokens">{head}<tbody>{rows}</tbody></table>'
    return f"<p>{words}</p>{scrolled(table, 'Tokens of both prompts')}"


def scrolled(table: str, name: str) -> str:
    """A table that may be wider than the screen, to be scrolled by keyboard too."""
    return f'<div class="mech-scroll" role="region" tabindex="0" aria-label="{escape(name)}">{table}</div>'


def _token_cell(column: TokenColumn, side: str) -> str:
    token = column.clean if side == "clean" else column.corrupted
    other = column.corrupted if side == "clean" else column.clean
    if token is None:
        return '<td><span class="mech-alt">no token</span></td>'
    text = f"<code>{escape(token)}</code>"
    if other is None:
        return f'<td><mark>{text}<span class="mech-alt"> too many</span></mark></td>'
    return f"<td><mark>{text}</mark></td>" if column.differs else f"<td>{text}</td>"
