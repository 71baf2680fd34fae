"""`engine sae`: dictionaries of a project, the export of one that a run trained, the import of a folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.commands.console import Output, TextTable
from engine.commands.options import Json
from engine.errors import DataError
from engine.runs.investigation import canonical_models, find_root_or_here
from engine.runs.store.store import now, open_store

app = typer.Typer(add_completion=False)

NONE_YET = "no dictionary was imported here yet; engine sae import FOLDER does, for a folder of SAELens"


@app.callback(invoke_without_command=True)
def sae(context: typer.Context, json: Json = False) -> Output | None:
    """Take sparse autoencoders in and out as SAELens folders, and list those of this project.

    \b
    Example:
      engine sae import ~/downloads/blocks.6.hook_resid_pre --model gpt2
    """
    if context.invoked_subcommand is not None:
        return None
    # It loads torch, which help and other commands do without.
    from engine.runs.coder_folders import dictionaries

    root = find_root_or_here()
    rows = [_row(folder.relative_to(root), found) for folder, found in dictionaries(root)]
    if not rows:
        return Output([NONE_YET], rows, json)
    headers = ["coder", "architecture", "latents", "hook site", "model"]
    return Output([TextTable(headers, [tuple(row.values()) for row in rows])], rows, json)


def _row(folder: Path, found: Any) -> dict[str, Any]:
    row = {"coder": f"./{folder.as_posix()}", "architecture": "", "latents": "", "hook_site": "", "model": ""}
    if isinstance(found, DataError):
        return row | {"architecture": "unreadable", "model": found.problem}
    return row | {
        "architecture": found.architecture,
        "latents": found.n_features,
        "hook_site": found.hook_site or "not said",
        "model": found.model or "not said",
    }


@app.command("export")
def sae_export(
    run_id: Annotated[int, typer.Argument(help="A run's id, as engine runs lists it.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder to write.")],
    json: Json = False,
) -> Output:
    """Write the dictionary that a run trained as a folder that SAELens 6 loads.

    \b
    Example:
      engine sae export 12 ./dictionaries/layer0-seed0
    """
    from engine.runs.coder_folders import export_run

    with open_store(find_root_or_here()) as store:
        run = store.run(run_id)
        result = store.load(run)
    export_run(run, result, folder)
    failed = [check.name for check in result.failed_checks]
    data = {
        "run": run_id,
        "experiment": str(run.name),
        "folder": str(folder),
        "files": sorted(file.name for file in folder.iterdir()),
        "failed_checks": failed,
    }
    text = [
        f"run {run_id}, {run.name}: {folder} with {', '.join(data['files'])}",
        f"in Python: sae_lens.SAE.load_from_disk({str(folder)!r})",
    ]
    if failed:
        text.append(f"the run's numbers are withheld, and so they are in the README: {', '.join(failed)}")
    return Output(text, data, json, exit_status=1 if failed else 0)


@app.command("import")
def sae_import(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that SAELens wrote.")],
    model: Annotated[
        str | None, typer.Option(help="The model to read it on, where the folder names another or none.")
    ] = None,
    hook_site: Annotated[
        str | None, typer.Option(help="The site to read it at, where the folder names another or none.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name here; the folder's own by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show it, and copy nothing.")] = False,
    json: Json = False,
) -> Output:
    """Check a SAELens folder, show what it is, and copy it to where a spec of this project may name it.

    \b
    Example:
      engine sae import ~/downloads/blocks.6.hook_resid_pre --model gpt2
    """
    from engine.runs.coder_folders import examined, take_in

    root = find_root_or_here()
    # A shell expands no ~ inside of quotes.
    folder = folder.expanduser()
    read_on = canonical_models([model])[0] if model else None
    found = examined(folder, read_on, hook_site)
    data: dict[str, Any] = {
        "folder": str(folder),
        "sha256": found.hash,
        "facts": dict(found.facts),
        "notes": list(found.notes),
        "coder": None,
    }
    text: list[str | TextTable] = [
        TextTable(["", str(folder)], [*found.facts.items(), ("sha256", found.hash[:12])]),
        *(f"note: {note}" for note in found.notes),
    ]
    if dry_run:
        return Output(text, data, json)
    place = take_in(folder, root, name, read_on, hook_site, now())
    coder = f"./{place.relative_to(root).as_posix()}"
    # Not said and not needed to be copied: whoever pastes the lines has to fill it in.
    site = found.hook_site or "blocks.LAYER.hook_resid_post"
    data["coder"] = coder
    text += [f"\nit is {coder} now, for a spec:\n", _spec_lines(coder, site)]
    return Output(text, data, json)


def _spec_lines(coder: str, site: str) -> str:
    """An experiment that measures the dictionary, to be pasted into a spec."""
    return "\n".join(
        [
            "  their-sae:",
            "    family: sae_evaluation",
            f"    hook_site: {site}",
            "    corpus: {name: smollm2-samples, tokens: 200_000}",
            f"    parameters: {{coder: {shlex.quote(coder)}}}",
        ]
    )
