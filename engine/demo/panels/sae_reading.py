"""Features of a sparse autoencoder on a text, and whether another seed has a counterpart of each.

1. Read the text as a harvest reads a corpus: the model's BOS in front and left out, massive activations left
   out; encode what stands at the dictionary's hook site.
2. What the dictionary does on the packaged corpus, shipped with it or read once: live and dead latents,
   explained variance, the strongest contexts of the chosen latent, latents by a token that was searched for.
3. Cosines of the decoder rows of the latents that stand out on the text: large activations of latents that
   seldom fire.
4. With a second dictionary of the site: for each of these latents the best match by decoder cosine and by
   correlation of activations over the corpus, and what chance gives for both; the best matches of all live
   latents, beside those of random directions.

The instruments and, where it measures the same, the numbers are those of the family `sae_evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from engine.demo.dictionaries import (
    DictionarySource,
    LiveDictionary,
    find_source,
    live_dictionary,
    other_seed,
)
from engine.demo.limits import prompt_ids
from engine.demo.live_model import LiveModel
from engine.demo.panel import Cancelled, PanelState, TellProgress
from engine.errors import DemoError
from engine.evidence.result import Figure
from engine.families.sae_evaluation import live_rows
from engine.lab.contexts import bos_of
from engine.lab.site_vectors import activations_at
from engine.lab.sparse.codes import Codes
from engine.lab.sparse.counterparts import (
    activation_correlations,
    chance_correlations,
    columns,
    direction_cosines,
)
from engine.lab.sparse.matching import NEAR, match, random_directions
from engine.lab.sparse.top_contexts import top_contexts
from engine.models.hooked import HookedModel

LISTED = 12
"""Latents that are listed and drawn: those that stand out on the text."""
CONTEXTS = 6
AROUND = 10
"""Tokens that a context shows on either side."""
FOUND = 12
"""Latents that a search lists."""
NONE = "none"
TEXT = "Fact: The government of France is based in the capital city of"
EXAMPLE_SETS = ("facts", "animal", "sentiment", "language")
"""Prompt sets of the investigations of recall, probing and steering."""


class SaeState(PanelState):
    text: Annotated[str, Field(max_length=2000)] = TEXT
    """The text that is read."""
    dictionary: Annotated[str, Field(max_length=200)] = ""
    """The name of a dictionary that is offered; empty for the first."""
    other: Annotated[str, Field(max_length=200)] = ""
    """A second dictionary of the site; empty for another seed of the same training, `none` for none."""
    latent: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    """The latent that is looked at; left out: the one that stands out most on the text."""
    token: Annotated[str, Field(max_length=50)] = ""
    """A token to search latents by; empty for no search."""


@dataclass(frozen=True)
class Counterparts:
    """The second dictionary beside the first.

    `latents` has for each listed latent its best match by cosine and by correlation. Chance: `random_cosine`
    is the median best match of random directions, as many as both have live latents, and `random_cosines` all
    of them; `shuffled` the mean largest correlation of the chosen latent when its tokens are shuffled.
    """

    name: str
    latents: pd.DataFrame
    median: float
    fraction_near: float
    random_cosine: float
    shuffled: float
    matches: pd.DataFrame
    matches_figure: Figure


@dataclass(frozen=True)
class SaeAnswer:
    """What the panel shows. `numbers` are those of sae_evaluation on the corpus that was read.

    `activations` are the chosen latent's by token of the text, 0 where it does not fire, NaN at a massive
    activation. `on_text` has the listed latents, `cells` their activations by token.
    """

    dictionary: str
    hook_site: str
    tokens: Sequence[str]
    latent: int
    activations: np.ndarray
    on_text: pd.DataFrame
    cells: pd.DataFrame
    cells_figure: Figure
    n_latents: int
    n_live: int
    corpus_tokens: int
    numbers: Mapping[str, float]
    contexts: pd.DataFrame
    cosines: pd.DataFrame
    cosines_figure: Figure
    counterparts: Counterparts | None
    searched: str
    occurrences: int
    search: pd.DataFrame

    @property
    def n_dead(self) -> int:
        return self.n_latents - self.n_live


def examples(live: LiveModel) -> list[SaeState]:
    """Texts of the investigations' prompts, a few of each set."""
    first = [SaeState()]
    texts = [
        *live.prompts("facts").table.drop_duplicates("relation")["clean"].iloc[1:3],
        *live.prompts("animal", "labelled").table["text"].iloc[[0, -1]],
        *live.prompts("subject-number", "labelled").table["text"].iloc[[0]],
    ]
    return [*first, *(SaeState(text=str(text)) for text in texts if str(text) != TEXT)]


def answer(live: LiveModel, state: SaeState, progress: TellProgress, cancelled: Cancelled) -> SaeAnswer:
    """Read one text through a dictionary; DemoError for what cannot be read or does not fit."""
    model = live.model
    prompt_ids(model, state.text, "the text")  # refuses an empty and a long one before anything is loaded
    # 2 first: it says whether the latent that was asked for exists.
    source = find_source(state.dictionary, live.name)
    chosen = live_dictionary(live, source.name, progress)
    if state.latent is not None and state.latent >= chosen.coder.n_features:
        raise DemoError(
            f"{source.name} has no latent {state.latent:,}",
            expected=f"0 to {chosen.coder.n_features - 1:,}",
            seen=f"{state.latent:,}",
        )
    second = second_dictionary(live, state, chosen, progress)
    # 1. The text.
    progress(0.8, "reading the text")
    ids, codes, counted = text_codes(model, chosen, state.text)
    rates = firing_rates(chosen)
    listed = standing_out(codes, rates)
    latent = state.latent if state.latent is not None else (listed[0] if listed else 0)
    if latent not in listed:
        listed = [*listed, latent]
    tokens = model.token_strings(ids)
    dense = columns(codes, listed)
    on_text = np.full((len(ids), len(listed)), np.nan)
    on_text[counted] = dense
    # 2. The corpus.
    corpus = chosen.corpus
    contexts = top_contexts(
        corpus.codes,
        corpus.ids,
        corpus.context,
        model.token_strings,
        latents=[latent],
        top=CONTEXTS,
        around=AROUND,
    )
    occurrences, found = searched(model, chosen, state.token)
    # 3, 4. Its directions, and those of another seed.
    progress(0.9, "comparing latents")
    cells = cells_table(tokens, listed, on_text)
    return SaeAnswer(
        dictionary=source.name,
        hook_site=source.hook_site,
        tokens=tokens,
        latent=latent,
        activations=on_text[:, listed.index(latent)],
        on_text=listed_table(tokens, listed, on_text, rates),
        cells=cells,
        cells_figure=cells_figure(),
        n_latents=chosen.coder.n_features,
        n_live=int(corpus.live.sum()),
        corpus_tokens=len(corpus.codes),
        numbers=corpus.numbers,
        contexts=contexts,
        cosines=cosine_table(chosen, listed),
        cosines_figure=cosines_figure(),
        counterparts=counterparts(chosen, second, listed, latent) if second else None,
        searched=state.token,
        occurrences=occurrences,
        search=found,
    )


def second_dictionary(
    live: LiveModel, state: SaeState, chosen: LiveDictionary, progress: TellProgress
) -> LiveDictionary | None:
    """The dictionary beside the first, if there is to be one; DemoError where it is of another site."""
    source = second_source(state, chosen.source, live.name)
    if source is None:
        return None
    if source.hook_site != chosen.source.hook_site:
        raise DemoError(
            "two dictionaries are compared where they read the same activations",
            expected=f"a second one at {chosen.source.hook_site}, or none",
            seen=f"{source.name} at {source.hook_site}",
        )
    return live_dictionary(live, source.name, progress)


def second_source(state: SaeState, chosen: DictionarySource, model: str) -> DictionarySource | None:
    """What stands beside the first dictionary; None for none."""
    if state.other == NONE:
        return None
    return find_source(state.other, model) if state.other else other_seed(chosen, model)


def text_codes(model: HookedModel, chosen: LiveDictionary, text: str) -> tuple[list[int], Codes, np.ndarray]:
    """The token ids of a text, the codes of those that count, and which they are.

    As in a harvest: after the model's BOS, where it declares one, whose own activation does not count.
    """
    ids = model.token_ids([text], special_tokens=False)[0]
    bos = bos_of(model)
    lead = [] if bos is None else [bos]
    site = chosen.source.hook_site
    read = torch.tensor([[*lead, *ids]], device=model.device)
    rows = activations_at(model, read, [site])[site][0, len(lead) :].float().cpu()
    # The dictionary never saw massive activations: what it makes of one means nothing.
    counted = rows.double().norm(dim=1).numpy() <= chosen.corpus.norm_limit
    return ids, chosen.coder.codes(rows[torch.from_numpy(counted)]), counted


def firing_rates(chosen: LiveDictionary) -> np.ndarray:
    """The share of the corpus's tokens on which each latent fires."""
    return chosen.corpus.codes.fired().numpy() / len(chosen.corpus.codes)


def standing_out(codes: Codes, rates: np.ndarray) -> list[int]:
    """The latents that stand out on a text, first those with the largest activation times -ln(firing rate).

    By activation alone, latents that fire nearly everywhere would come first on every text.
    """
    largest = np.zeros(codes.n_latents)
    # A latent has several entries: plain assignment would keep the last.
    np.maximum.at(largest, codes.latents.numpy(), codes.values.numpy())
    # One that never fired on the corpus is taken to be as rare as the corpus can tell.
    rarest = rates[rates > 0].min() if (rates > 0).any() else 1.0
    # A hair below 1, so that latents that fire everywhere keep their order among themselves.
    weight = -np.log(np.clip(rates, rarest / 2, 1 - 1e-6))
    order = np.argsort(-largest * weight, kind="stable")[:LISTED]
    return [int(latent) for latent in order if largest[latent] > 0]


def listed_table(
    tokens: Sequence[str], listed: Sequence[int], on_text: np.ndarray, rates: np.ndarray
) -> pd.DataFrame:
    """For each listed latent its largest activation, where it is, and how often it fires elsewhere."""
    filled = np.nan_to_num(on_text)
    peaks: list[int] = filled.argmax(axis=0).tolist()
    return pd.DataFrame(
        {
            "latent": listed,
            "activation": filled.max(axis=0),
            "token": [visible(tokens[peak]) for peak in peaks],
            "position": peaks,
            "fires on the text": (filled > 0).sum(axis=0),
            "firing_rate": rates[np.asarray(listed, dtype=int)],
        }
    )


def cells_table(tokens: Sequence[str], listed: Sequence[int], on_text: np.ndarray) -> pd.DataFrame:
    """The activation of each listed latent at each token."""
    places = [f"{position} {visible(token)}" for position, token in enumerate(tokens)]
    return pd.DataFrame(
        {
            "position": np.tile(places, len(listed)),
            "latent": np.repeat([str(latent) for latent in listed], len(tokens)),
            "activation": np.nan_to_num(on_text).T.ravel(),
        }
    )


def cells_figure() -> Figure:
    return Figure(
        kind="heatmap",
        table="cells",
        columns={"x": "position", "y": "latent", "color": "activation"},
        title="Where the latents fire that stand out here",
        caption=(
            "By activation times -ln(firing rate), so that what fires everywhere does not come first. "
            "A click on a cell chooses its latent."
        ),
    )


def cosine_table(chosen: LiveDictionary, listed: Sequence[int]) -> pd.DataFrame:
    """The cosine of each listed latent's decoder row with each other's."""
    names = [str(latent) for latent in listed]
    rows = chosen.coder.W_dec.numpy()
    cosines = direction_cosines(rows, rows[np.asarray(listed, dtype=int)], listed)
    return pd.DataFrame(
        {
            "latent": np.repeat(names, len(names)),
            "other latent": np.tile(names, len(names)),
            "cosine": cosines.ravel(),
        }
    )


def cosines_figure() -> Figure:
    return Figure(
        kind="heatmap",
        table="cosines",
        columns={"x": "other latent", "y": "latent", "color": "cosine"},
        title="How alike the directions of these latents are",
        caption="Cosine of decoder rows; near 0 for most pairs, 1 for a latent with itself.",
        options={"midpoint": 0.0},
    )


def counterparts(
    chosen: LiveDictionary, second: LiveDictionary, listed: Sequence[int], latent: int
) -> Counterparts:
    """The best matches of the listed latents in a second dictionary, and what chance gives."""
    own = live_rows(chosen.coder, chosen.corpus.codes)
    theirs = live_rows(second.coder, second.corpus.codes)
    # As sae_evaluation draws them, so that the numbers are the same.
    generator = np.random.default_rng(0)
    drawn = [random_directions(len(rows), own.shape[1], generator) for rows in (own, theirs)]
    best = match(own, theirs, one_to_one=False).a_to_b
    random = match(drawn[0], drawn[1], one_to_one=False).a_to_b
    whose = np.repeat(["live latents", "random directions"], [len(best), len(random)])
    matches = pd.DataFrame({"series": whose, "best_match": np.concatenate([best, random]).astype(float)})
    return Counterparts(
        name=second.source.name,
        latents=match_table(chosen, second, listed),
        median=float(np.median(best)),
        fraction_near=float((best >= NEAR).mean()),
        random_cosine=float(np.median(random)),
        shuffled=float(chance_correlations(chosen.corpus.codes, second.corpus.codes, [latent]).mean()),
        matches=matches,
        matches_figure=matches_figure(second.source.name),
    )


def matches_figure(name: str) -> Figure:
    return Figure(
        kind="ecdf",
        table="matches",
        columns={"x": "best_match", "color": "series"},
        title="How many latents have a counterpart",
        caption=(
            f"Share of live latents whose best match in {name} has at most this cosine, and of as many "
            "random directions."
        ),
        options={"x_title": "cosine with the best match", "color_title": "latents"},
    )


def match_table(chosen: LiveDictionary, second: LiveDictionary, listed: Sequence[int]) -> pd.DataFrame:
    """For each listed latent the nearest latent of the other by direction, and the one that fires alike.

    Only latents that fire on the corpus are counterparts: a dead one has a direction and nothing else.
    """
    live = np.flatnonzero(second.corpus.live)
    if not len(live):
        raise DemoError(f"no latent of {second.source.name} fires on the corpus", expected="live latents")
    cosines = direction_cosines(chosen.coder.W_dec.numpy(), second.coder.W_dec.numpy()[live], listed)
    correlations = activation_correlations(chosen.corpus.codes, second.corpus.codes, listed)[:, live]
    nearest = cosines.argmax(axis=1)
    alike = correlations.argmax(axis=1)
    rows = np.arange(len(listed))
    return pd.DataFrame(
        {
            "latent": listed,
            "nearest": live[nearest],
            "cosine": cosines[rows, nearest].astype(float),
            "correlation with it": correlations[rows, nearest],
            "fires most alike": live[alike],
            "correlation": correlations[rows, alike],
        }
    )


def searched(model: HookedModel, chosen: LiveDictionary, text: str) -> tuple[int, pd.DataFrame]:
    """How often a token comes in the corpus, and the latents that fire on it more than on others.

    A word is looked for with and without a space before it. DemoError where it is no single token.
    """
    corpus = chosen.corpus
    columns_ = ["latent", "fires on it", "fires on others", "mean activation"]
    if not text:
        return 0, pd.DataFrame(columns=pd.Index(columns_))
    wanted = token_ids_of(model, text)
    here = np.isin(corpus.ids, wanted)
    n = int(here.sum())
    if not n:
        return 0, pd.DataFrame(columns=pd.Index(columns_))
    codes = corpus.codes
    on_it = here[codes.rows.numpy()]
    latents = codes.latents.numpy()
    fires = np.bincount(latents[on_it], minlength=codes.n_latents)
    elsewhere = np.bincount(latents[~on_it], minlength=codes.n_latents)
    sums = np.bincount(latents[on_it], weights=codes.values.numpy()[on_it], minlength=codes.n_latents)
    share = fires / n
    rate = elsewhere / max(1, len(here) - n)
    # By the difference: what fires on every token is no answer to what fires on this one.
    order = np.argsort(-(share - rate), kind="stable")[:FOUND]
    order = order[fires[order] > 0]
    values = [order, share[order], rate[order], sums[order] / fires[order]]
    return n, pd.DataFrame(dict(zip(columns_, values, strict=True)))


def token_ids_of(model: HookedModel, text: str) -> list[int]:
    """The ids of a text that is one token, also with a space before it; DemoError where it is none."""
    spellings = list(dict.fromkeys([text, f" {text.strip()}", text.strip()]))
    found = model.token_ids([each for each in spellings if each], special_tokens=False)
    single = [ids[0] for ids in found if len(ids) == 1]
    if not single:
        pieces = ", ".join(visible(token) for token in model.token_strings(found[0] if found else []))
        raise DemoError(
            f"{text!r} is not one token", expected="a word or sign that the model reads as one", seen=pieces
        )
    return single


def visible(token: str) -> str:
    """A token with its spaces and line ends to be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥") or "∅"
