"""Processes of a server: which stubs live, which are stopped, what a stop leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

STUB = "triton_python_backend_stub"


@dataclass(frozen=True)
class Stub:
    """A Python backend stub: its process, the model it hosts, and its state as psutil calls it."""

    pid: int
    model: str
    state: str


def stubs(group: int) -> list[Stub]:
    """The stubs in a process group, zombies excepted."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, IndexError):
            if os.getpgid(process.pid) == group and Path((command := process.cmdline())[0]).name == STUB:
                model = Path(command[1]).parents[1].name  # <model>/<version>/model.py
                found.append(Stub(process.pid, model, process.status()))
    return sorted(found, key=lambda stub: stub.pid)


def kill(pid: int) -> None:
    """SIGKILL, quietly where the process is gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_group(group: int, timeout_s: float = 5.0) -> None:
    """SIGKILL for a whole process group, quietly where it is gone already; returns when its stubs have ended."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    while stubs(group) and time.monotonic() < deadline:
        time.sleep(0.01)  # large ones take a moment to give their memory back


def die_with_parent() -> None:
    """Run in a child: SIGTERM reaches it when its parent dies, however that happens, after an exec too (prctl(2))."""
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def dying_with_parent(command: Sequence[str]) -> list[str]:
    """The command, by way of a Python that calls `die_with_parent` and becomes it; its first word is a path.

    Not as `preexec_fn`: with that, subprocess forks, and a fork waits for ever where a gRPC client is at work in the
    parent. Without, it takes vfork, which runs no handlers.
    """
    return [sys.executable, "-I", __file__, *command]


if __name__ == "__main__":
    die_with_parent()
    os.execv(sys.argv[1], sys.argv[1:])
