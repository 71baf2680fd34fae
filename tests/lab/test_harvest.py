"""Harvests: equal to TransformerLens's cache, shared, resumed after a kill, bounded by the disk there is."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.errors import DataError, SpecError, StoreError
from engine.lab import harvest as module
from engine.lab.activation_cache import harvest_folders
from engine.lab.harvest import harvest
from engine.lab.site_vectors import KINDS
from tests.lab.texts import made_up, with_bos

CORPUS, SITE = made_up(), "blocks.1.hook_resid_pre"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TOKENS", 64)  # four contexts of 16


def taken(folder: Path | None, sites=(SITE,), **more):
    return harvest(with_bos(), CORPUS, sites, folder=folder, context_tokens=16, **more)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("include_bos", [False, True])
def test_every_site_equals_the_cache_of_transformer_lens(tmp_path, architecture, include_bos):
    model = with_bos(architecture, n_layers=2)
    sites = [f"blocks.1.{kind}" for kind in KINDS]
    found = harvest(
        model, CORPUS, sites, folder=tmp_path, tokens=300, context_tokens=16, include_bos=include_bos
    )
    for context in range(0, found.n_contexts, 5):
        input_ids, counted = found.inputs([context])
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(input_ids, prepend_bos=False)
        for site in sites:
            expected = cache[site].flatten(2)[counted]
            rows = found.rows(site, np.flatnonzero(found.context == context))
            assert (rows - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())), site
    assert found.ids.tolist().count(3) >= (found.n_contexts if include_bos else 0)


def test_memory_and_disk_hold_the_same(tmp_path):
    on_disk, in_memory = taken(tmp_path), taken(None)
    every = range(on_disk.n_tokens)
    assert torch.equal(on_disk.rows(SITE, every), in_memory.rows(SITE, every))
    assert on_disk.ids.tolist() == in_memory.ids.tolist() == CORPUS.ids.tolist()
    (found,) = harvest_folders(tmp_path)
    assert found.whole
    assert 0.8 < on_disk.n_bytes / found.n_bytes <= 1


def test_runs_that_need_the_same_share_it(tmp_path, monkeypatch):
    first = taken(tmp_path)
    monkeypatch.setattr(module, "activations_at", None)  # nothing is computed again
    again = taken(tmp_path)
    assert torch.equal(first.rows(SITE, range(50)), again.rows(SITE, range(50)))
    assert len(harvest_folders(tmp_path)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"corpus": made_up(seed=1)},
        {"sites": ["blocks.0.hook_resid_pre"]},
        {"context_tokens": 8},
        {"tokens": 100},
        {"include_bos": True},
        {"model": with_bos(seed=1)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_the_numbers_depend_on_names_the_folder(tmp_path, other):
    usual = {"model": with_bos(), "corpus": CORPUS, "sites": [SITE], "context_tokens": 16, "folder": tmp_path}
    harvest(**usual)
    harvest(**{**usual, **other})
    assert len(harvest_folders(tmp_path)) == 2


def test_a_killed_harvest_goes_on_after_its_last_whole_shard(tmp_path):
    sites, told = ["blocks.1.hook_resid_pre", "blocks.0.attn.hook_z"], []
    taken(tmp_path / "calm", sites)
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    killed = subprocess.Popen(
        [sys.executable, "-m", "tests.lab.texts", str(tmp_path / "killed"), "0.2"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert killed.stdout is not None
    for _ in range(3):
        killed.stdout.readline()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (half,), (whole,) = harvest_folders(tmp_path / "killed"), harvest_folders(tmp_path / "calm")
    assert 2 <= half.n_shards < whole.n_shards
    (half.folder / ".new-1-000009.safetensors").write_bytes(b"half of a shard")
    taken(tmp_path / "killed", sites, progress=lambda fraction, message: told.append(message))
    assert len(told) == whole.n_shards - half.n_shards
    assert files(tmp_path / "killed") == files(tmp_path / "calm")


def test_another_process_at_the_same_harvest_is_waited_for(tmp_path):
    from threading import Thread

    from filelock import FileLock

    from engine.lab.activation_cache import free, lock_of

    taken(tmp_path)
    (whole,) = harvest_folders(tmp_path)
    (whole.folder / "000001.safetensors").unlink()
    heard: list[str] = []
    lock = FileLock(lock_of(whole.folder), thread_local=False)
    with lock:
        assert free(whole) == 0
        waiting = Thread(target=taken, args=(tmp_path,), kwargs={"progress": lambda f, m: heard.append(m)})
        waiting.start()
        while not heard and waiting.is_alive():
            time.sleep(0.01)
    waiting.join()
    assert "waiting for another process" in heard[0]
    assert len(heard) == 2
    assert harvest_folders(tmp_path)[0].whole


def test_a_disk_that_is_too_small_is_told_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
    monkeypatch.setattr(module, "activations_at", None)
    with pytest.raises(StoreError, match=r"too full.*\n.*0.1 MB free\n.*0.0 MB\n.*runs gc"):
        taken(tmp_path)


def test_a_disk_that_fills_up_keeps_whole_shards_only(tmp_path, monkeypatch):
    whole = files(tmp_path / "whole") if taken(tmp_path / "whole") else {}
    calls, fsync = [], os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="the disk is full") as caught:
        taken(tmp_path / "full")
    assert "last whole shard" in caught.value.hint
    left = files(tmp_path / "full")
    assert sorted(left) == ["000000.safetensors", "000001.safetensors", "about.json"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "SHARD_TOKENS", 64)
    taken(tmp_path / "full")
    assert files(tmp_path / "full") == whole


def spoil_payload(file: Path) -> None:
    flip(file, -1)


def spoil_header(file: Path) -> None:
    flip(file, 12)


def spoil_length(file: Path) -> None:
    flip(file, 6)


def spoil_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def spoil_all_but_the_start(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def spoil_by_another_shard(file: Path) -> None:
    shutil.copy(file.with_name("000002.safetensors"), file)


SPOILERS = {
    spoil_payload: "is not what was written",
    spoil_header: "damaged header",
    spoil_length: "damaged header",
    spoil_end: "bytes of numbers",
    spoil_all_but_the_start: "damaged header",
    spoil_by_another_shard: "is not what was written",
}


def flip(file: Path, at: int) -> None:
    """One bit of a file, in its place."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "says"), SPOILERS.items(), ids=lambda value: getattr(value, "__name__", "")
)
def test_a_damaged_shard_is_harvested_anew_alone_and_that_is_told(tmp_path, monkeypatch, spoil, says):
    taken(tmp_path)
    before = files(tmp_path)
    spoil(next(tmp_path.rglob("000001.safetensors")))
    assert files(tmp_path) != before
    told: list[str] = []
    taken(tmp_path, progress=lambda fraction, message: told.append(message))
    assert files(tmp_path) == before
    assert len(told) == 2  # what is damaged, and one shard computed
    assert told[0].startswith("harvested activations are damaged and made anew: 000001.safetensors ")
    assert says in told[0]
    assert told[1].endswith(told[0].partition("anew: ")[2])
    monkeypatch.setattr(module, "activations_at", None)  # whole again: nothing is computed
    taken(tmp_path)


def test_of_many_damaged_shards_a_few_are_named_and_the_rest_counted(tmp_path):
    taken(tmp_path)
    before = files(tmp_path)
    for file in tmp_path.rglob("00000[0-5].safetensors"):
        spoil_payload(file)
    told: list[str] = []
    taken(tmp_path, progress=lambda fraction, message: told.append(message))
    assert told[0].count("is not what was written") == 3
    assert told[0].endswith("; and 3 more")
    assert files(tmp_path) == before


def test_a_missing_shard_is_harvested_without_a_word_of_damage(tmp_path):
    taken(tmp_path)
    before = files(tmp_path)
    next(tmp_path.rglob("000001.safetensors")).unlink()
    told: list[str] = []
    taken(tmp_path, progress=lambda fraction, message: told.append(message))
    assert len(told) == 1 and "damaged" not in told[0]
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', None])
def test_a_description_that_is_damaged_is_written_anew_and_the_shards_stay(tmp_path, monkeypatch, content):
    taken(tmp_path)
    before = files(tmp_path)
    about = next(tmp_path.rglob("about.json"))
    about.write_text(about.read_text().replace('"tokens": 9', '"tokens": 8') if content is None else content)
    monkeypatch.setattr(module, "activations_at", None)
    told: list[str] = []
    taken(tmp_path, progress=lambda fraction, message: told.append(message))
    assert told == ["harvested activations are damaged and made anew: about.json is damaged"]
    assert files(tmp_path) == before


def test_another_name_for_the_same_model_leaves_the_description_as_it_is(tmp_path, monkeypatch):
    taken(tmp_path)
    before = files(tmp_path)
    monkeypatch.setattr(module, "activations_at", None)
    renamed = replace(with_bos(), name="another-name")
    harvest(renamed, CORPUS, [SITE], folder=tmp_path, context_tokens=16)
    assert files(tmp_path) == before


def test_damage_done_while_a_harvest_is_read_ends_the_run_and_the_next_one_mends_it(tmp_path):
    found = taken(tmp_path)
    expected = found.rows(SITE, range(200))
    file = next(tmp_path.rglob("000001.safetensors"))
    spoil_payload(file)
    with pytest.raises(StoreError, match=r"000001.*damaged(?s:.)*not what was written(?s:.)*harvested anew"):
        found.rows(SITE, range(200))
    assert torch.equal(taken(tmp_path).rows(SITE, range(200)), expected)
    # Whoever still has the first one reads what was mended.
    assert torch.equal(found.rows(SITE, range(200)), expected)


def test_a_harvest_that_is_freed_while_it_is_read_is_read_to_its_end(tmp_path):
    found = taken(tmp_path)
    expected = found.rows(SITE, range(200))
    shutil.rmtree(tmp_path / "activations")
    assert torch.equal(found.rows(SITE, range(200)), expected)
    with pytest.raises(StoreError, match="is missing"):
        found.rows(SITE, [found.n_tokens - 1])


def test_a_disk_that_spoils_what_it_is_given_is_told_and_not_written_to_for_ever(tmp_path, monkeypatch):
    write = module.write_shard

    def spoiled(file: Path, arrays) -> None:
        write(file, arrays)
        spoil_payload(file)

    monkeypatch.setattr(module, "write_shard", spoiled)
    with pytest.raises(StoreError, match=r"just written(?s:.)*examine the disk"):
        taken(tmp_path)


def test_what_cannot_be_harvested_is_told(tmp_path):
    with pytest.raises(DataError, match="shorter"):
        taken(tmp_path, tokens=10**6)
    with pytest.raises(SpecError, match="no site"):
        taken(tmp_path, sites=())
    assert harvest_folders(tmp_path) == []
