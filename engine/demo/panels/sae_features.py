"""The panel of features: its experiment as a spec, its components, and what was found as HTML.

What is computed is in `sae_reading`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from engine.demo.charts import figure_html, figure_view
from engine.demo.dictionaries import HOW_TO_MAKE, dictionary_sources, find_source
from engine.demo.live_model import CORPUS, LiveModel
from engine.demo.panel import Click, Panel, View
from engine.demo.panels.sae_reading import (
    NONE,
    SaeAnswer,
    SaeState,
    answer,
    examples,
    second_source,
    visible,
)
from engine.errors import DemoError
from engine.evidence.marked import segments_of
from engine.lab.sparse.corpus_codes import READ, READ_TOKENS
from engine.lab.sparse.matching import NEAR


def spec(state: SaeState, model: str) -> dict[str, Any]:
    """The dictionary, and the second where there is one, as an experiment on the corpus of the panel."""
    source = find_source(state.dictionary, model)
    second = second_source(state, source, model)
    for each in (source, second):
        if each is not None and each.run is not None:
            raise DemoError(
                f"a spec names a dictionary by its folder: engine sae export {each.run} DIR writes one"
            )
    parameters: dict[str, Any] = {"coder": source.name}
    if second is not None:
        parameters["other"] = second.name
    return {
        "name": "demo-sae-features",
        "family": "sae_evaluation",
        "model": model,
        "hook_site": source.hook_site,
        "corpus": {"name": CORPUS, "tokens": READ_TOKENS},
        # Two contexts are the fewest that it splices: the panel shows nothing of that.
        "parameters": parameters | {"held_out": READ.held_out, "spliced_contexts": 2},
    }


def view(live: LiveModel, controls: Callable[[], None]) -> View[SaeState, SaeAnswer]:
    """The text and the dictionaries; below them what fires, on what else, and whether another seed has it."""
    sources = dictionary_sources(live.name)
    state = SaeState()
    text = gr.Textbox(label="Text", value=state.text, lines=2, max_length=2000)
    # The first goes by an empty name, as in an address that says nothing of it.
    choices = [(source.label, source.name if place else "") for place, source in enumerate(sources)]
    others = [("another seed of the same training", ""), ("none", NONE)]
    others += [(source.label, source.name) for source in sources]
    with gr.Row():
        dictionary = gr.Dropdown(choices, value="", label="Dictionary", allow_custom_value=True)
        other = gr.Dropdown(others, value="", label="Beside it", allow_custom_value=True)
    with gr.Row():
        latent = gr.Number(
            label="Latent", value=None, precision=0, minimum=0, info="Empty: the one that stands out most"
        )
        token = gr.Textbox(
            label="Search by token",
            value=state.token,
            max_length=50,
            info="Which latents fire on it, with or without a space before it",
        )
    controls()
    found = gr.HTML(elem_classes=["mech-found"])
    cells = figure_view("Where the latents fire", clickable=True)
    contexts = gr.HTML(elem_classes=["mech-found"])
    search = gr.HTML(elem_classes=["mech-found"])
    beside = gr.HTML(elem_classes=["mech-found"])
    matches = figure_view("How many latents have a counterpart")
    cosines = figure_view("How alike the directions are", clickable=True)
    return View(
        inputs={
            "text": text,
            "dictionary": dictionary,
            "other": other,
            "latent": latent,
            "token": token,
        },
        outputs=[found, cells, contexts, search, beside, matches, cosines],
        show=shown,
        clicks=[Click(cells, with_latent), Click(cosines, with_latent)],
    )


def with_latent(state: SaeState, datum: Mapping[str, Any]) -> SaeState:
    """The state with the latent of a mark that was clicked; DemoError for a mark of none."""
    latent = str(datum.get("latent", ""))
    # `isdecimal` and not `isdigit`: int() refuses superscripts.
    if not latent.isdecimal() or len(latent) > 7:
        raise DemoError("this mark is of no latent", expected="a cell of the chart")
    return state.model_copy(update={"latent": int(latent)})


def shown(found: SaeAnswer) -> list[str]:
    """The values of the outputs."""
    beside = found.counterparts
    return [
        found_html(found),
        figure_html(found.cells_figure, found.cells),
        contexts_html(found),
        search_html(found),
        counterparts_html(found),
        figure_html(beside.matches_figure, beside.matches) if beside else "",
        figure_html(found.cosines_figure, found.cosines),
    ]


def summary(found: SaeAnswer) -> list[str]:
    """The latent that stands out most, the dictionary, and whether there is a counterpart, in sentences."""
    row = found.on_text.iloc[0]
    first = (
        f"Latent {row['latent']} stands out most: {row['activation']:.3g} at {row['token']}, and it fires on "
        f"{row['firing_rate']:.2%} of the corpus."
        if row["activation"] > 0
        else "No latent fires on this text."
    )
    numbers = found.numbers
    second = (
        f"{found.n_live:,} of {found.n_latents:,} latents are live and {found.n_dead:,} dead on "
        f"{found.corpus_tokens:,} tokens; they explain {numbers['explained_variance']:.1%} of the variance "
        f"with {numbers['l0']:.3g} active a token, random directions "
        f"{numbers['random_explained_variance']:.1%}."
    )
    return [first, second, *([counterpart_words(found)] if found.counterparts else [])]


def counterpart_words(found: SaeAnswer) -> str:
    """Whether the chosen latent has a counterpart, and by which measure."""
    beside = found.counterparts
    if beside is None:
        return ""
    row = beside.latents.set_index("latent").loc[found.latent]
    by_direction = (
        f"by direction latent {int(row['nearest'])} of {beside.name}, cosine {row['cosine']:.2f} "
        f"(chance {beside.random_cosine:.2f})"
    )
    by_activation = (
        f"by where it fires latent {int(row['fires most alike'])}, correlation {row['correlation']:.2f} "
        f"(chance {beside.shuffled:.2f})"
    )
    if row["cosine"] >= NEAR:
        verdict = "has a counterpart"
    elif row["cosine"] > beside.random_cosine and row["correlation"] > beside.shuffled:
        verdict = f"has a relative and no counterpart at a cosine of {NEAR} or more"
    else:
        verdict = "has no counterpart beyond chance"
    return f"Latent {found.latent} {verdict}: {by_direction}; {by_activation}."


def found_html(found: SaeAnswer) -> str:
    """The text with the chosen latent's tokens marked, the listed latents, and what the dictionary is."""
    said = "".join(f"<p>{escape(words)}</p>" for words in summary(found))
    table = table_html(
        ["latent", "largest", "at", "fires here", "fires on corpus"],
        [
            (
                str(row["latent"]),
                f"{row['activation']:.3g}",
                f"{row['position']} {row['token']}",
                f"{row['fires on the text']} of {len(found.tokens)}",
                f"{row['firing_rate']:.2%}",
            )
            for row in found.on_text.to_dict("records")
        ],
    )
    made = f"<p>To look at others: {escape(HOW_TO_MAKE)}.</p>"
    return (
        f'<p id="sae-text-label">Latent {found.latent} on the text, at {escape(found.hook_site)}:</p>'
        f"{tokens_html(found)}{said}"
        f"<details><summary>The latents that stand out on this text</summary>{table}</details>"
        f"<details><summary>Other dictionaries</summary>{made}</details>"
    )


def tokens_html(found: SaeAnswer) -> str:
    """The text, each token that fires marked, reached by the keyboard, and its value in words beside it."""
    strongest_ = max(float(np.nan_to_num(found.activations).max()), 1e-12)
    parts = []
    for token, activation in zip(found.tokens, found.activations.tolist(), strict=True):
        if activation != activation:
            parts.append(
                f'<span class="mech-left-out" title="massive activation, left out">{_text(token)}</span>'
            )
        else:
            parts.append(token_html(token, activation, strongest_))
    return f'<p class="mech-tokens" role="group" aria-labelledby="sae-text-label">{"".join(parts)}</p>'


def token_html(token: str, activation: float, most: float) -> str:
    if activation <= 0:
        return _text(token)
    share = round(100 * activation / most)
    # The value is text that is hidden from sight and shown beside the token on focus: no tooltip that only a
    # mouse reaches.
    value = f'<span class="mech-value"> ({activation:.3g})</span>'
    style = f"--mech-strength: {share}%"
    return f'<mark class="mech-token" tabindex="0" style="{style}">{_text(token)}{value}</mark>'


def _text(token: str) -> str:
    return escape(token).replace("\n", "⏎") or "∅"


def contexts_html(found: SaeAnswer) -> str:
    """The contexts of the corpus in which the chosen latent is strongest."""
    head = f"Where latent {found.latent} is strongest in {found.corpus_tokens:,} tokens of {CORPUS}"
    if found.contexts.empty:
        return f"<h2>{escape(head)}</h2><p>It never fires there.</p>"
    items = []
    for text in found.contexts["text"]:
        segments = list(segments_of(text))
        most = max((segment.strength for segment in segments), default=1.0) or 1.0
        tokens = "".join(token_html(segment.text, segment.strength, most) for segment in segments)
        items.append(f"<li>{tokens}</li>")
    return f'<h2>{escape(head)}</h2><ol class="mech-contexts">{"".join(items)}</ol>'


def counterparts_html(found: SaeAnswer) -> str:
    """The best matches of the listed latents in the second dictionary."""
    beside = found.counterparts
    if beside is None:
        return "<h2>Another seed</h2><p>No second dictionary is chosen.</p>"
    rows = [
        (
            str(row["latent"]),
            str(row["nearest"]),
            f"{row['cosine']:.2f}",
            f"{row['correlation with it']:.2f}",
            str(row["fires most alike"]),
            f"{row['correlation']:.2f}",
        )
        for row in beside.latents.to_dict("records")
    ]
    head = ["latent", "nearest", "cosine", "correlation with it", "fires most alike", "correlation"]
    said = (
        f"Half of the live latents have a best match above {beside.median:.2f} in {beside.name}, and "
        f"{beside.fraction_near:.1%} one from {NEAR} on; the median of as many random directions is "
        f"{beside.random_cosine:.2f}."
    )
    return (
        f"<h2>Beside {escape(beside.name)}</h2><p>{escape(counterpart_words(found))}</p><p>{escape(said)}</p>"
        f"{table_html(head, rows)}"
    )


def search_html(found: SaeAnswer) -> str:
    """The latents that fire on the token that was searched for."""
    if not found.searched:
        return ""
    times = f"{visible(found.searched)} comes {found.occurrences:,} times in {found.corpus_tokens:,} tokens"
    if found.search.empty:
        return f"<h2>Latents by token</h2><p>{escape(times)}.</p>"
    rows = [
        (str(int(latent)), f"{share:.1%}", f"{rate:.1%}", f"{mean:.3g}")
        for latent, share, rate, mean in found.search.itertuples(index=False)
    ]
    head = ["latent", "fires on it", "fires on others", "mean activation"]
    return f"<h2>Latents by token</h2><p>{escape(times)}.</p>{table_html(head, rows)}"


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    headings = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="mech-scroll" tabindex="0" role="group" aria-label="{escape(head[0])} table">'
        f"<table><thead><tr>{headings}</tr></thead><tbody>{body}</tbody></table></div>"
    )


PANEL: Panel[SaeState, SaeAnswer] = Panel(
    name="sae",
    title="SAE features",
    about="Which features of a sparse autoencoder a text calls up, on what else they fire, and whether "
    "another seed has them.",
    state=SaeState,
    examples=examples,
    answer=answer,
    spec=spec,
    view=view,
    summary=summary,
)
