"""CPU, memory and GPU of a server's processes, sampled beside a load.

There are two figures of host memory, since the better one is dear. In the proportional set size (PSS) pages that
processes share count once. It takes 50 ms for this server, which would show in its p99, so it is read between phases.
Beside a load anonymous pages and shared memory are sampled (5 ms): what a leak would be made of.

Shared memory counts as the kernel has given it out, each region once. Triton's Python backend takes a region whole, and
its processes go on meeting pages of it that they had not seen. All regions are those of the process that maps most,
Triton's. CPU comes from the kernel's counters, read at the begin and the end of a window, not from samples.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from serving.supervisor.processes import stubs
from serving.supervisor.server import SHARED_MEMORY

from .nvml import Nvml

MB = 1e6
ITSELF = "tritonserver"  # what no model's process used
BLOCK_BYTES = 512  # of st_blocks, stat(2)


@dataclass(frozen=True)
class Sample:
    """One look at the server's processes; `at_s` is of the monotonic clock, `memory_mb` without files' pages."""

    at_s: float
    memory_mb: float
    gpu_mb: float | None
    gpu_utilisation: float | None


@dataclass(frozen=True)
class Counters:
    """CPU seconds used so far: by the server's processes, by everybody on the machine, and taken by the hypervisor.

    Args:
        parts: of the server: `tritonserver` itself, and the Python processes of each model by its name.
    """

    at_s: float
    parts: dict[str, float]
    busy_s: float
    stolen_s: float

    @property
    def server_cpu_s(self) -> float:
        """Of all processes of the server."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Use:
    """Between two readings, in cores (CPU seconds a second)."""

    seconds: float
    parts: dict[str, float]  # of the server, by the names of Counters
    others_cores: float  # neither server nor generator: a foreign load makes figures worse than they are
    stolen_cores: float

    @property
    def server_cores(self) -> float:
        """Of all processes of the server."""
        return sum(self.parts.values())


class Sampler(threading.Thread):
    """Looks at a process and its children every `period_s` until `stop`; a child that ends is left out."""

    def __init__(self, pid: int, nvml: Nvml, period_s: float = 1.0) -> None:
        super().__init__(name="perf-sampler", daemon=True)
        self.samples: list[Sample] = []
        self._root, self._nvml, self._period_s = psutil.Process(pid), nvml, period_s
        self._stopped = threading.Event()
        self._failure: Exception | None = None

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        self.join()
        if self._failure and exc_info[0] is None:
            raise self._failure

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.samples.append(self.sample())
            except psutil.NoSuchProcess:
                pass  # the server has ended, which whoever asks it will tell
            except Exception as exc:  # raised again at the end: half of the samples are no measurement
                self._failure = exc
                return
            self._stopped.wait(self._period_s)

    def sample(self) -> Sample:
        """One look."""
        pids, anonymous, mapped = [], 0, {}
        for process in self._tree():
            with suppress(OSError):
                mine, mapped[process.pid] = pages(process.pid)
                anonymous += mine
                pids.append(process.pid)
        shared = 0
        if mapped:
            most = max(mapped, key=mapped.__getitem__)
            given, reach = regions(most)
            shared = given + max(0, mapped[most] - reach)  # what else it shares, such as unnamed memory
        gpu = self._nvml.use(pids)
        known = (None, None) if gpu is None else (gpu.memory / MB, gpu.utilisation)
        return Sample(time.monotonic(), (anonymous + shared) / MB, *known)

    def pss_mb(self) -> float:
        """The proportional set size of all processes now."""
        memory = 0
        for process in self._tree():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory += process.memory_full_info().pss
        return memory / MB

    def counters(self) -> Counters:
        """CPU seconds used so far."""
        hosts = {stub.pid: stub.model for stub in stubs(self._root.pid)}
        parts: dict[str, float] = {}
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                times, part = process.cpu_times(), hosts.get(process.pid, ITSELF)
                parts[part] = parts.get(part, 0.0) + times.user + times.system
        machine = psutil.cpu_times()
        busy = machine.user + machine.nice + machine.system + machine.irq + machine.softirq
        return Counters(time.monotonic(), parts, busy, machine.steal)

    def between(self, begin_s: float, end_s: float) -> list[Sample]:
        """The samples of a window."""
        return [sample for sample in self.samples if begin_s <= sample.at_s <= end_s]

    def _tree(self) -> Iterator[psutil.Process]:
        yield self._root
        yield from self._root.children(recursive=True)


def pages(pid: int) -> tuple[int, int]:
    """Bytes of a process's anonymous and of its shared-memory pages, of /proc/pid/status (proc(5))."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    anonymous, shared = (int(found.get(name, "0 kB").split()[0]) * 1024 for name in ("RssAnon", "RssShmem"))
    return anonymous, shared


def regions(pid: int) -> tuple[int, int]:
    """Bytes that the kernel gave to the files of /dev/shm that a process maps; bytes of all those mappings together."""
    folder, files, reach = f"{SHARED_MEMORY}/", set(), 0
    with suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if folder in line:
                begin, end = (int(address, 16) for address in line.split(maxsplit=1)[0].split("-"))
                files.add(line[line.index(folder) :])
                reach += end - begin
    given = 0
    for file in files:
        with suppress(OSError):  # it was removed
            given += os.stat(file).st_blocks * BLOCK_BYTES
    return given, reach


def use(before: Counters, after: Counters, generator_cores: float) -> Use:
    """CPU between two readings."""
    seconds = after.at_s - before.at_s
    parts = {name: (used - before.parts.get(name, 0.0)) / seconds for name, used in after.parts.items()}
    busy = (after.busy_s - before.busy_s) / seconds
    stolen = (after.stolen_s - before.stolen_s) / seconds
    return Use(seconds, parts, max(0.0, busy - sum(parts.values()) - generator_cores), stolen)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def listener(port: int) -> int | None:
    """The process of this machine that listens on a TCP port; None where it is not to be seen."""
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return int(connection.pid)
    return None
