"""Each panel's answer to its first example, kept for the site (`mech demo --stills`).

The sentences below say what one sees on a chart; every number in them comes from the answer that the chart is
drawn from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import yaml

from engine.demo.address import to_query
from engine.demo.limits import StopSignal
from engine.demo.live_model import LiveModel
from engine.demo.panel import Panel
from engine.demo.panel_code import panel_codes
from engine.demo.panels import steering
from engine.demo.panels.circuit_patching import PatchingAnswer
from engine.demo.panels.logit_lens import LensAnswer
from engine.demo.panels.sae_reading import SaeAnswer
from engine.demo.panels.steering import TITLES, SteeringAnswer
from engine.evidence.result import Figure
from engine.publish.demo_stills import COMMAND, StillChart, StillPanel, Stills, StillTable

DIGITS = 6
"""Significant digits of a number that is kept: more than a chart shows."""


@dataclass(frozen=True)
class SeenChart:
    """A figure of an answer with its table, and what one sees on it."""

    figure: Figure
    table: pd.DataFrame
    says: Sequence[str]


@dataclass(frozen=True)
class Described:
    """What is shown of an answer: its charts, and tables with their titles.

    `says` stands for the panel's own summary, where that repeats a table.
    """

    charts: Sequence[SeenChart] = ()
    tables: Sequence[StillTable] = ()
    says: Sequence[str] = ()


def make_stills(live: LiveModel, panels: Sequence[Panel[Any, Any]]) -> Stills:
    """Every panel's answer to the state that it opens with; the model is loaded already."""
    model = live.model
    codes = panel_codes()
    return Stills(
        model=live.name,
        model_hash=model.hash,
        quantisation=model.quantisation,
        dtype=model.dtype,
        device=model.device,
        versions=dict(live.sources.versions()),
        date=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        command=COMMAND,
        panels=[_still(panel, live, codes[panel.name]) for panel in panels],
    )


def _still(panel: Panel[Any, Any], live: LiveModel, code: str) -> StillPanel:
    state = panel.state()
    # Nobody waits for it: a slow machine makes the same stills.
    *_, answer = panel.answers(live, state, _silent, StopSignal(math.inf))
    described = DESCRIBED[panel.name](answer) if panel.name in DESCRIBED else Described()
    return StillPanel(
        name=panel.name,
        title=panel.title,
        about=panel.about,
        query=to_query(panel, state),
        state=state.model_dump(mode="json"),
        experiment=yaml.safe_dump(
            panel.spec(state, live.name), sort_keys=False, allow_unicode=True, width=100
        ),
        says=[_ended(line) for line in described.says or panel.summary(answer)],
        charts=list(map(_chart, described.charts)),
        tables=list(described.tables),
        code=code,
    )


def _chart(seen: SeenChart) -> StillChart:
    figure = seen.figure
    shown = list(dict.fromkeys(figure.columns.values()))
    return StillChart(
        name=figure.table,
        kind=figure.kind,
        parts=figure.columns,
        title=figure.title,
        caption=figure.caption,
        options={name: plain(value) for name, value in figure.options.items()},
        rows=rows(seen.table.loc[:, shown]),
        says=list(seen.says),
    )


def rows(table: pd.DataFrame) -> dict[str, list[Any]]:
    """A table by column, as JSON can hold it: numbers in `DIGITS` significant digits."""
    return {str(name): [plain(value) for value in table[name].tolist()] for name in table.columns}


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _ended(line: str) -> str:
    """A line as a sentence."""
    line = line[:1].upper() + line[1:]
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _silent(fraction: float, words: str = "", /) -> None:
    """Progress that nobody watches."""


# What one sees, panel by panel.


def patching_described(found: PatchingAnswer) -> Described:
    effects = found.map["effect"]
    half = int(np.count_nonzero(effects.to_numpy() >= 0.5))
    columns = found.alignment.columns
    differing = next(column for column in columns if column.differs)
    map_says = [
        f"Each column is one of {len(columns)} tokens. Before the first that differs, "
        f"{differing.clean} against {differing.corrupted}, a patch changes nothing.",
        f"{half} of {len(effects):,} cells bring back half of the difference or more.",
    ]
    title = f"The likeliest next tokens: patched at layer {found.state.layer}, position {found.position}"
    return Described(
        charts=[SeenChart(found.map_figure, found.map, map_says)],
        tables=[StillTable(name="next_tokens", title=title, rows=rows(_side_by_side(found.next_tokens)))],
    )


def _side_by_side(next_tokens: pd.DataFrame) -> pd.DataFrame:
    """The likeliest tokens of each run in a column of its own."""
    said = next_tokens.assign(
        said=[
            f"{token} {100 * probability:.3g} %"
            for token, probability in zip(next_tokens["token"], next_tokens["probability"], strict=True)
        ]
    )
    columns = {run: group["said"].tolist() for run, group in said.groupby("run", sort=False)}
    return pd.DataFrame(columns)


def lens_described(found: LensAnswer) -> Described:
    half = found.n_layers // 2
    rank = int(found.grid.rank[-1, half])
    last = found.by_layer["probability"].tolist()
    steepest = max(range(1, len(last)), key=lambda layer: last[layer] - last[layer - 1])
    cells_say = [
        f"Each column is one of {len(found.tokens)} tokens, each row a number of blocks read; in a dark cell "
        "the model has settled on what it says there in the end.",
    ]
    layers_say = [
        f"After {half} of {found.n_layers} blocks {rank:,} tokens are likelier than the answer.",
        f"Its probability rises most in block {steepest}, from {last[steepest - 1]:.2g} "
        f"to {last[steepest]:.2g}.",
    ]
    return Described(
        charts=[
            SeenChart(found.cells_figure, found.cells, cells_say),
            SeenChart(found.by_layer_figure, found.by_layer, layers_say),
        ]
    )


def sae_described(found: SaeAnswer) -> Described:
    fires = int(np.count_nonzero(np.nan_to_num(found.activations)))
    cells_say = [
        f"The {len(found.on_text)} latents that stand out most on this text, at {found.hook_site}; latent "
        f"{found.latent} fires on {fires} of {len(found.tokens)} tokens.",
    ]
    cosines = found.cosines.loc[found.cosines["latent"] != found.cosines["other latent"], "cosine"]
    cosines_say = [f"Apart from the diagonal the largest cosine is {cosines.max():.2f}."]
    # On a page nothing is chosen by a click.
    cells_figure = replace(found.cells_figure, caption="")
    charts = [SeenChart(cells_figure, found.cells, cells_say)]
    if found.counterparts is not None:
        beside = found.counterparts
        matches_say = [
            f"Half of the live latents have a best match above {beside.median:.2f} in the other seed, and "
            f"{beside.fraction_near:.1%} a near copy; half of as many random directions have one above "
            f"{beside.random_cosine:.2f}."
        ]
        charts.append(SeenChart(beside.matches_figure, beside.matches, matches_say))
    charts.append(SeenChart(found.cosines_figure, found.cosines, cosines_say))
    contexts = found.contexts.loc[:, ["activation", "text"]]
    title = f"Where latent {found.latent} is strongest in {found.corpus_tokens:,} tokens"
    return Described(charts, [StillTable(name="contexts", title=title, rows=rows(contexts))])


def steering_described(found: SteeringAnswer) -> Described:
    steered, random = found.of("steered"), found.of("random direction")
    costs_say = [
        f"At a coefficient of {found.coefficient:g} the steered text has a perplexity of "
        f"{steered.perplexity:.3g}, that with a random direction of the same length {random.perplexity:.3g}.",
    ]
    charts = []
    if found.by_condition is not None and found.by_condition_figure is not None:
        charts = [SeenChart(found.by_condition_figure, found.by_condition, costs_say)]
    texts = pd.DataFrame(
        {
            "condition": [TITLES[each.condition] for each in found.completions],
            "text": [each.text.strip() for each in found.completions],
            "perplexity": [each.perplexity for each in found.completions],
            "verdict": [each.verdict for each in found.completions],
        }
    )
    title = f"What the model writes after: {found.prompt.rstrip('.')}"
    shown = [StillTable(name="texts", title=title, rows=rows(texts))]
    # The other lines begin each text, which the table has whole.
    return Described(charts, shown, says=steering.summary(found)[:1])


DESCRIBED: dict[str, Callable[[Any], Described]] = {
    "patching": patching_described,
    "lens": lens_described,
    "sae": sae_described,
    "steering": steering_described,
}
