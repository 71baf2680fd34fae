"""`mech demo`: four panels on a live model, in the browser, or once without a server (`--smoke`)."""

from __future__ import annotations

import importlib.util
import os
import time
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.console import Output, TextTable, say
from engine.commands.options import Json
from engine.commands.progress import Bars
from engine.demo.server_address import ServerAddress, bound_socket
from engine.errors import DemoError
from engine.models.known import KNOWN
from engine.publish.demo_stills import write_stills
from engine.runs.investigation import find_root

if TYPE_CHECKING:
    from engine.demo.live_model import LiveModel

app = typer.Typer(add_completion=False)

SHARE_WARNING = (
    "warning: --share opens a tunnel through a server of Gradio's: whoever has the link can use this "
    "machine's model, and what is typed passes through that server"
)


@app.command()
def demo(
    model: Annotated[str, typer.Option(help="A model by name or path.")] = KNOWN[0].name,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port on this machine.")] = 7860,
    host: Annotated[
        str, typer.Option(help="The address to serve at; 0.0.0.0 for every network of this machine.")
    ] = "127.0.0.1",
    embed_in: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A site that may show the demo in a frame; may be repeated."),
    ] = None,
    vector: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A steering vector to choose from; may be repeated."),
    ] = None,
    share: Annotated[
        bool,
        typer.Option("--share", help="A public link through a server of Gradio's."),
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Run each panel once without a server, and say what it found.")
    ] = False,
    stills: Annotated[
        bool,
        typer.Option("--stills", help="Run each panel once, and keep its answer for the site's page."),
    ] = False,
    json: Json = False,
) -> Output:
    """Serve four panels on a live model: patching, logit lens, SAE features, steering.

    The page answers while the model is still loading. All of a panel's state is in its address; nothing is
    kept on the server. --smoke is a quick trial of an installation. --stills makes what the site shows of it.

    \b
    Example:
      mech demo --port 7861
    """
    began = time.perf_counter()
    _require_extra()
    # They load Gradio and torch, which help does without.
    from engine.demo.live_model import LiveModel

    live = LiveModel(model)
    live.require_available()
    live.vectors = _vector_files(vector or [])
    if stills:
        return _stills(live, json)
    return _smoke(live, json) if smoke else _serve(live, host, port, tuple(embed_in or ()), share, began)


def _require_extra() -> None:
    if importlib.util.find_spec("gradio") is None:
        raise DemoError(
            "the demo needs Gradio, which is not installed", hint="pip install 'mech-interpretability[demo]'"
        )


def _vector_files(paths: list[Path]) -> dict[str, Path]:
    """The files by their bare names; DataError for one that cannot be read, DemoError for a name twice."""
    from engine.lab.steering_vectors import load_vector

    found: dict[str, Path] = {}
    for path in paths:
        load_vector(path.expanduser())
        if path.name in found:
            raise DemoError(f"two vectors are called {path.name}", expected="files of different names")
        found[path.name] = path.expanduser().resolve()
    return found


def _smoke(live: LiveModel, json: bool) -> Output:
    """Each panel once; exit status 1 where one failed."""
    from engine.demo.panel_list import PANELS
    from engine.demo.smoke import smoke

    began = time.perf_counter()
    _load(live, quiet=json)
    loaded = time.perf_counter() - began
    results = list(smoke(live, PANELS))
    failed = [result for result in results if result.problem]
    rows = [
        ("failed" if r.problem else "ok", r.panel, f"{r.seconds:.1f} s", r.problem or " ".join(r.found))
        for r in results
    ]
    total = loaded + sum(result.seconds for result in results)
    text: list[str | TextTable] = [
        TextTable(["", "panel", "took", "found"], rows),
        f"\n{len(results) - len(failed)} of {len(results)} panels answered on {live.name} in {total:.1f} s, "
        f"{loaded:.1f} s of it loading the model",
    ]
    data = {
        "model": live.name,
        "load_seconds": loaded,
        "seconds": total,
        "panels": [asdict(result) for result in results],
    }
    return Output(text, data, json, exit_status=1 if failed else 0)


def _stills(live: LiveModel, json: bool) -> Output:
    """Each panel's answer, written for the site."""
    from engine.demo.panel_list import PANELS
    from engine.demo.stills import make_stills

    root = find_root()
    _load(live, quiet=json)
    made = make_stills(live, PANELS)
    path = write_stills(root / "site", made)
    lines = [f"{still.title}: {' '.join(still.says)}" for still in made.panels]
    size = f"{path.relative_to(root)}, {path.stat().st_size / 1000:,.0f} kB; engine build --budget 0 draws it"
    return Output([*lines, f"\n{size}"], made.model_dump(mode="json"), json)


def _serve(
    live: LiveModel, host: str, port: int, embed_in: tuple[str, ...], share: bool, began: float
) -> Output:
    """Serve until interrupted; the model loads while the page is there already."""
    address = ServerAddress(host, port, embed_in)
    # Before seconds are spent on imports: a port that is taken is told at once.
    taken = bound_socket(address)
    say(f"starting the demo of {live.name} ...")
    # Gradio reads them when it is imported: no request to another host.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from engine.demo.app import build_app
    from engine.demo.panel_list import PANELS
    from engine.demo.server import DemoServer, public_link, web_app

    server = DemoServer(web_app(build_app(live, PANELS), address), taken)
    try:
        server.start()
        say(f"{address.url} answers after {time.perf_counter() - began:.1f} s; the model is loading")
        if not address.is_local:
            say(f"warning: {host} can be reached from other machines, and there is no password")
        if share:
            say(SHARE_WARNING)
            say(f"public link: {public_link(server.app, address)}")
        _load(live, quiet=False)
        say(f"{live.name} is loaded after {time.perf_counter() - began:.1f} s; Ctrl-C ends the demo")
        server.wait()
    except KeyboardInterrupt:
        say("ended")
    finally:
        server.close()
    return Output()


def _load(live: LiveModel, quiet: bool) -> None:
    """Load the model, with a bar for what is fetched."""
    with closing(Bars()) as bars:

        def progress(what: str, done: int, total: int) -> None:
            if not quiet:
                bars.update(what, done / total if total else 0.0)

        live.load(progress)
