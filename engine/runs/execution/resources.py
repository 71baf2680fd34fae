"""What a run is measured on: the device's name, the memory it takes at its peak, the threads it may use."""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

THREAD_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
RESET_PEAK = "5"  # set the peak resident set size to the present one: proc(5), clear_refs


def device_name(device: str) -> str:
    """`cpu: AMD EPYC 9R14` or `cuda: NVIDIA H100`, as provenance shows it."""
    if device.startswith("cuda"):
        return f"cuda: {sys.modules['torch'].cuda.get_device_name(device)}"
    return f"{device}: {_processor()}"


def start_peak() -> None:
    """Begin to watch memory; where the system cannot, the peak is that of the whole process so far."""
    cuda = _cuda()
    if cuda:
        cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    except OSError:
        return


def peak_bytes() -> int:
    """The peak since `start_peak`, of the accelerator's memory where one is used, else of the process."""
    cuda = _cuda()
    # A process may see a GPU and compute on the CPU: then nothing was allocated there.
    if cuda and cuda.max_memory_allocated():
        return cuda.max_memory_allocated()
    try:
        # VmHWM and not getrusage, whose peak is never reset: it would be that of the largest run so far.
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # In bytes on macOS, in kilobytes elsewhere.
        return peak if sys.platform == "darwin" else peak * 1024


def free_memory() -> None:
    """Let go of a model that nothing refers to any more."""
    # Hooks and modules refer to each other, so that counting references alone lets go of neither.
    gc.collect()
    cuda = _cuda()
    if cuda:
        cuda.empty_cache()


def limit_threads(threads: int) -> None:
    """Let this process compute on so many cores at most; to be called before it imports torch or numpy."""
    for setting in THREAD_SETTINGS:
        # A lower limit that a person has set stays.
        os.environ[setting] = str(min(threads, int(os.environ.get(setting) or threads)))


def begin_worker(threads: int) -> None:
    """What a process that this program starts does first: compute on so many cores at most, hear no Ctrl-C,
    and end with the process that started it."""
    # Ctrl-C goes to every process of a terminal: the parent hears it and ends us, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent has gone, however that ended: it would work for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        # Returns once the parent has gone. `_exit`, since the main thread computes on and would hear no
        # exception.
        parent.join()
        os._exit(1)


def _cuda() -> Any:
    """torch.cuda, if this process has torch and a device; torch is never imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
