"""What there is to work with: families and their calibrations, models, this machine, skeletons."""

from __future__ import annotations

from engine.commands.console import emit_json, human_bytes, progress, say, table
from engine.errors import EngineError


def families(name: str | None, *, json: bool) -> None:
    """Every family in a line, or one with its method and parameters."""
    from engine import families as registry

    chosen = [name] if name else registry.names()
    described = {n: _family(n) for n in chosen}
    if json:
        emit_json(described)
    elif name:
        say(registry.docstring(name))
        say()
        table(
            ["parameter", "default", "what it is"], [tuple(r.values()) for r in described[name]["parameters"]]
        )
    else:
        table(["family", "what it measures"], [(n, d["about"]) for n, d in described.items()])


def _family(name: str) -> dict:
    from engine import families as registry

    fields = registry.params_model(name).model_fields
    rows = [
        {
            "name": n,
            "default": "required" if f.is_required() else str(f.default),
            "about": f.description or "",
        }
        for n, f in fields.items()
    ]
    return {"about": registry.about(name), "parameters": rows}


def models(*, json: bool) -> None:
    """Every known model: size, licence, source, cached, fits."""
    from engine.models.cards import availability, fits, is_cached, known_models, memory_needed

    rows = [
        {
            "name": card.name,
            "download_bytes": card.size_bytes,
            "memory_bytes": memory_needed(card),
            "licence": card.licence,
            "cached": is_cached(card),
            "fits": fits(card),
            "note": availability(card.name)[1],
            "source": card.source,
        }
        for card in known_models()
    ]
    if json:
        emit_json(rows)
        return
    shown = [
        (
            r["name"],
            human_bytes(r["download_bytes"]),
            human_bytes(r["memory_bytes"]) + ("" if r["fits"] else " (too large here)"),
            r["licence"],
            "cached" if r["cached"] else r["note"],
            r["source"],
        )
        for r in rows
    ]
    table(["model", "download", "memory", "licence", "here", "source"], shown)
    say("\nBesides these, any hub id (org/model, safetensors) and any local folder or GGUF file is a model.")


def fetch_model(name: str) -> None:
    """Fetch with a bar; says where the model lies."""
    from engine.models.fetch import fetch

    with progress(f"fetching {name}") as bar:
        folder = fetch(name, lambda what, done, total: bar.update(done / total if total else 0.0, what))
    say(f"{name} is ready at {folder}")


def calibrate(names: list[str] | None, *, json: bool) -> bool:
    """Run calibrations and say each; whether all passed."""
    from engine import families as registry
    from engine.runs.calibrations import calibrations
    from engine.runs.investigation import find_root
    from engine.runs.sources import project_sources

    chosen = names or registry.names()
    for name in chosen:
        registry.source_path(name)
    found = calibrations(find_root(), project_sources(), families=chosen, fresh=True)
    if json:
        emit_json({family: [vars(c) | {"passed": c.passed} for c in rows] for family, rows in found.items()})
    else:
        rows = [
            (family, c.name, c.expected, f"{c.seen:.6g}", "passed" if c.passed else "FAILED")
            for family, cases in found.items()
            for c in cases
        ]
        table(["family", "case", "expected", "seen", ""], rows)
    return all(c.passed for cases in found.values() for c in cases)


def doctor(*, json: bool) -> bool:
    """Everything looked at; whether the engine can work here."""
    from engine.commands.doctor import examine
    from engine.runs.investigation import find_root

    try:
        root = find_root()
    except EngineError:
        root = None
    findings = examine(root)
    if json:
        emit_json(findings)
    else:
        table(
            ["", "what", "seen"],
            [(f.state, f.name, f.seen + (f"  -> {f.mend}" if f.mend else "")) for f in findings],
        )
        if root is None:
            say("\nthis is not inside a project: build, status and the like work in a clone only")
    return all(f.state != "fail" for f in findings)


def new(name: str, *, family: bool, title: str) -> None:
    """`engine new`."""
    from engine.runs.investigation import find_root
    from engine.spec.scaffold import new_family, new_investigation

    root = find_root()
    if family:
        written = new_family(name, root / "engine", root / "tests")
        after = f"engine calibrate {name}"
    else:
        written = new_investigation(
            root / "investigations" / name, name, title or name.replace("-", " ").capitalize()
        )
        after = f"engine build {name}"
    for path in written:
        say(f"wrote {path.relative_to(root)}")
    say(f"it works as it stands: {after}")
