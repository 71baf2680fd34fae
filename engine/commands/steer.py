"""`mech steer`: a prompt answered as the model is, steered, and by a random direction, side by side."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.console import Output, TextTable
from engine.commands.options import Json
from engine.errors import SpecError
from engine.runs.investigation import find_root_or_here

if TYPE_CHECKING:
    from engine.runs.steered_texts import SteeredText

app = typer.Typer(add_completion=False)


@app.command()
def steer(
    model: Annotated[str, typer.Argument(help="A model by name or path.")],
    prompt: Annotated[str | None, typer.Argument(help="What it is asked, or what it goes on from.")] = None,
    vector: Annotated[
        str, typer.Option(metavar="FILE|RUN", help="A .safetensors or .gguf file, or a run's id.")
    ] = "",
    coefficient: Annotated[
        float, typer.Option(help="What the vector is multiplied with; may be negative.")
    ] = 1.0,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 40,
    plain: Annotated[
        bool, typer.Option("--plain", help="Go on from the prompt as it is, without the chat template.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Draws the random direction.")] = 0,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the vector, as .safetensors or .gguf."),
    ] = None,
    json: Json = False,
) -> Output:
    """Compare a model's answer as it is, steered by a vector, and by a random direction.

    Each answer is shown with its perplexity under the unmodified model.

    --save writes the vector to a file, as it comes from a run: .gguf is the form that llama.cpp loads.

    \b
    Example:
      mech steer smollm2-135m-instruct --vector joy.safetensors --coefficient 4 "How was your day?"
    """
    if not vector:
        raise SpecError("no vector is named", where="engine steer", expected="--vector FILE, or a run's id")
    if prompt is None and save is None:
        raise SpecError(
            "there is nothing to do",
            where="engine steer",
            expected="a prompt, or --save FILE",
            seen="neither",
        )
    # They load torch, which help does without.
    from engine.runs.steered_texts import (
        load_model,
        save_fitting,
        shown,
        steered_texts,
        token_ids,
        vector_of,
    )

    loaded = load_model(model)
    found = vector_of(vector, loaded, find_root_or_here())
    where = ", ".join(found.directions)
    data = {
        "model": loaded.name,
        "vector": vector,
        "hook_sites": list(found.directions),
        "source": asdict(found.source),
        "coefficient": coefficient,
        "prompt": prompt,
        "completions": [],
        "saved": str(save) if save else None,
    }
    text: list[str | TextTable] = []
    if save:
        save_fitting(found, loaded, save)
        text.append(f"{save}: the vector at {where}, of {loaded.name}")
    if prompt is not None:
        ids = token_ids(loaded, prompt, plain)
        made = steered_texts(
            loaded, found, ids, coefficient, max_tokens=tokens, seed=seed, progress=_progress(json)
        )
        data["completions"] = made = shown(made, found)
        text += [f"{loaded.name}, {coefficient:g} times the vector at {where}", ""]
        for each in made:
            text += [_heading(each), _indented(each.text), ""]
    return Output(text, data, json)


def _progress(quiet: bool) -> Callable[[str], None]:
    """A line for each answer where a person waits for it."""

    def told(condition: str) -> None:
        if not quiet and sys.stderr.isatty():
            print(f"generating: {condition}", file=sys.stderr)

    return told


def _heading(made: SteeredText) -> str:
    if made.problem:
        return f"{made.condition}: broken, {made.problem}"
    if not made.text.strip():
        return f"{made.condition} (empty)"
    # A single token has none, since the first is left out of it.
    has_one = math.isfinite(made.perplexity)
    return f"{made.condition} ({f'perplexity {made.perplexity:.3g}' if has_one else 'one token'})"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())
