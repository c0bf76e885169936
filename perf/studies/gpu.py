"""A GPU host in figures: `python -m perf.gpu`. DALI alone, the classifier alone, both, and the served `embedded-gpu`.

Reads `gpu.toml`; writes `gpu.json` and `.md`, with GPU memory (NVML) and CPU of every measurement. Refuses
where there is no GPU. Not run yet: no GPU was at hand.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from serving.errors import ServingError
from serving.paths import CACHE, ROOT
from serving.supervisor.options import Options
from serving.supervisor.processes import dying_with_parent
from serving.supervisor.server import Server

from . import budgets, pages
from .gpu_settings import (
    TABLE,
    Alone,
    GpuError,
    Served,
    Settings,
    figures,
    generators,
    page,
    settings,
    shares,
    together,
)
from .gpu_worker import KINDS
from .load import Load, LoadError, Measured, Target, run
from .nvml import Nvml
from .resources import Sampler, cores, use

MB = 1e6
INSTALL = "install what it needs with: .venv/bin/pip install -r requirements/gpu.txt"
LIKELY_PER_SECOND = 6200.0  # how many generators a closed loop gets
START_S = 20.0  # until all generators of a load have imported Locust


def require_gpu(nvml: Nvml) -> None:
    """Raises GpuError where this machine cannot run `embedded-gpu`."""
    if not nvml.available:
        raise GpuError(
            "there is no GPU: NVML shows none, and `nvidia-smi` should list one; on a CPU, measure with: make perf"
        )
    if find_spec("cupy") is None:
        raise GpuError(f"CuPy, which holds the GPU's memory, is missing; {INSTALL}")


def alone(kind: str, batch: int, table: Settings) -> Alone:
    """One part without a server; GpuError where it fails."""
    nvml = Nvml()  # its base line is before the worker
    command = [sys.executable, "-m", "perf.gpu_worker", kind, str(batch)]
    command += ["--threads", str(table.decoder_threads), "--seconds", str(table.seconds)]
    with subprocess.Popen(
        dying_with_parent(command), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        try:
            _expect(worker.stdout, kind, batch, lambda line: line == "ready\n")
            print("go", file=worker.stdin, flush=True)
            found = json.loads(_expect(worker.stdout, kind, batch, lambda line: line.startswith("{")))
            gpu = nvml.use([worker.pid])
            print("end", file=worker.stdin, flush=True)
        finally:
            worker.kill()
    return Alone(kind, batch, **found, gpu_mb=gpu.memory / MB if gpu else float("nan"))


def _expect(lines: IO[str], kind: str, batch: int, wanted: Callable[[str], bool]) -> str:
    line = lines.readline()
    if not wanted(line):
        raise GpuError(f"{kind} with batches of {batch} failed; what it said stands above")
    return line


def served(url: str, sampler: Sampler, load: Load, table: Settings) -> Served:
    """One load from as many generators as it needs, and what the server used meanwhile."""
    parts = generators(load.rate or LIKELY_PER_SECOND, table.requests_per_generator, cores(), load.in_flight)
    start_s = time.monotonic() + START_S

    def one(number: int) -> Measured:
        share = {"in_flight": shares(load.in_flight, parts)[number], "rate": load.rate / parts}
        own = Load(**{**asdict(load), **share, "seed": number})
        return run([own], Target("grpc", (url,)), table.warm_up_s, sampler.counters, start_s)

    with ThreadPoolExecutor(parts) as pool:
        measured = list(pool.map(one, range(parts)))
    found, first = together(measured), measured[0]
    cpu = use(*first.readings, found.generator_cores)
    samples = sampler.between(first.begin_s, first.begin_s + first.seconds)
    busy = [s.gpu_utilisation for s in samples if s.gpu_utilisation is not None]
    return Served(
        load=load.name,
        in_flight=load.in_flight,
        rate=load.rate,
        **asdict(found),
        server_cores=cpu.server_cores,
        gpu_mb=max((s.gpu_mb or 0.0 for s in samples), default=float("nan")),
        gpu_utilisation=sum(busy) / len(busy) if busy else float("nan"),
        generators=parts,
    )


def loads(table: Settings) -> list[Load]:
    """Closed loops at every concurrency, then the open one at half of the bar."""
    closed = [
        Load(f"face x {n}", ask="face", loop="closed", seconds=table.seconds, in_flight=n) for n in table.in_flight
    ]
    most = max(table.in_flight)
    return [
        *closed,
        Load("half", ask="face", loop="open", seconds=2 * table.seconds, in_flight=most, rate=table.half_rate),
    ]


def measure(table: Settings) -> tuple[list[Alone], list[Served]]:
    """Everything; what is told meanwhile is a line each."""
    parts = []
    for kind in KINDS:
        for batch in table.batches:
            parts.append(alone(kind, batch, table))
            print(f"{kind} alone, batches of {batch}: {parts[-1].per_second:,.0f} images/s", flush=True)
    found = []
    log = CACHE / "logs" / "gpu.log"
    nvml = Nvml()
    options = Options(profile="embedded-gpu", grpc_port=0, http_port=0, metrics_port=0, log=log)
    with Server(options) as server, Sampler(server.pid, nvml, 0.5) as sampler:
        for load in loads(table):
            found.append(served(server.url, sampler, load, table))
            print(f"{load.name}: {found[-1].per_second:,.0f} images/s, p99 {found[-1].p99_ms:.1f} ms", flush=True)
    return parts, found


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE, help="what to measure (default %(default)s)")
    parser.add_argument("--out", type=Path, default=pages.LATEST, help="folder (default %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line entry: 0 the bars hold, 1 one does not or something failed, 2 usage, or no GPU."""
    arguments = parse(argv)
    try:
        table = settings(arguments.table.read_text())
        require_gpu(Nvml())
    except (GpuError, OSError) as exc:
        print(f"cannot measure: {exc}", file=sys.stderr)
        return 2
    about = pages.about("perf.gpu", argv)
    try:
        parts, found = measure(table)
    except (GpuError, LoadError, ServingError) as exc:
        print(f"the measurement failed: {exc}", file=sys.stderr)
        return 1
    text = page(parts, found, table.bars, cores())
    print(f"\n{text}")
    rows = {"alone": [asdict(part) for part in parts], "served": [asdict(one) for one in found]}
    print(f"written to {pages.write(arguments.out, 'gpu', text, about, **rows)}")
    return budgets.exit_code(budgets.judge(list(table.bars), figures(found, cores())))


if __name__ == "__main__":
    sys.exit(main())
