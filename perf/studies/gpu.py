"""A GPU host in figures: DALI alone, the classifier alone, both, and the served `embedded-gpu`.

Reads `gpu.toml`; writes `gpu.json` and `.md`, with GPU memory (NVML) and CPU of every measurement. Refuses
where there is no GPU. Not run yet: no GPU was at hand.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import msgspec

from perf import LATEST
from reports import budgets, tables
from serving.errors import ServingError
from serving.settings import command_line, read_toml

from ..load.loads import Load, LoadError, Measured, Target
from ..load.run import run
from ..measure.alone import KINDS, Kind, PartError, part
from ..measure.nvml import Nvml
from ..measure.resources import MB, Sampler, cores, use
from ..server import own_server
from .gpu_results import TABLE, Alone, GpuStudy, Served, figures, generators, page, shares, together

INSTALL = "install what it needs with: .venv/bin/pip install -r requirements/gpu.txt"
LIKELY_PER_SECOND = 6200.0  # how many generators a closed loop gets
START_S = 20.0  # until all generators of a load have imported Locust


class GpuError(Exception):
    """It cannot be measured here; the message says what is missing and what to do."""


def require_gpu(nvml: Nvml) -> None:
    """Raises GpuError where this machine cannot run `embedded-gpu`."""
    if not nvml.available:
        raise GpuError(
            "there is no GPU: NVML shows none, and `nvidia-smi` should list one; on a CPU, measure with: make perf"
        )
    if find_spec("cupy") is None:
        raise GpuError(f"CuPy, which holds the GPU's memory, is missing; {INSTALL}")


def alone(kind: Kind, batch: int, study: GpuStudy) -> Alone:
    """One part without a server; PartError where it fails."""
    nvml = Nvml()  # its base line is before the part
    with part(kind, batch, study.seconds, study.decoder_threads, gpu=True) as one:
        one.wait_ready()
        one.tell()
        speed = one.result()
        gpu = nvml.use([one.pid])
    return Alone(kind, batch, **msgspec.structs.asdict(speed), gpu_mb=gpu.memory / MB if gpu else float("nan"))


def served(url: str, sampler: Sampler, load: Load, study: GpuStudy) -> Served:
    """One load from as many generators as it needs, and what the server used meanwhile."""
    parts = generators(load.rate or LIKELY_PER_SECOND, study.requests_per_generator, cores(), load.in_flight)
    start_s = time.monotonic() + START_S

    def one(number: int) -> Measured:
        share = {"in_flight": shares(load.in_flight, parts)[number], "rate": load.rate / parts}
        own = msgspec.structs.replace(load, **share, seed=number)
        return run([own], Target("grpc", (url,)), study.warm_up_s, sampler.counters, start_s)

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


def loads(study: GpuStudy) -> list[Load]:
    """Closed loops at every concurrency, then the open one at half of the bar."""
    closed = [Load(f"face x {n}", "face", "closed", study.seconds, n) for n in study.in_flight]
    return [*closed, Load("half", "face", "open", 2 * study.seconds, max(study.in_flight), study.half_rate)]


def measure(study: GpuStudy) -> tuple[list[Alone], list[Served]]:
    """Everything; what is told meanwhile is a line each."""
    parts = []
    for kind in KINDS:
        for batch in study.batches:
            parts.append(alone(kind, batch, study))
            print(f"{kind} alone, batches of {batch}: {parts[-1].per_second:,.0f} images/s", flush=True)
    found = []
    nvml = Nvml()
    with own_server("gpu", profile="embedded-gpu") as server, Sampler(server.pid, nvml, 0.5) as sampler:
        for load in loads(study):
            found.append(served(server.url, sampler, load, study))
            print(f"{load.name}: {found[-1].per_second:,.0f} images/s, p99 {found[-1].p99_ms:.1f} ms", flush=True)
    return parts, found


def main(table: Path = TABLE, out: Path = LATEST) -> int:
    """Measures a GPU host: parts alone, and `embedded-gpu` from JPEG to score.

    Exit code: 0 the bars hold, 1 one does not or something failed, 2 usage, or no GPU.

    Args:
        table: what to measure.
        out: folder of the page.
    """
    try:
        study = read_toml(table, GpuStudy)
        require_gpu(Nvml())
    except (GpuError, ValueError, OSError) as exc:
        print(f"cannot measure: {exc}", file=sys.stderr)
        return 2
    about = tables.measured_on("perf.studies.gpu")
    try:
        parts, found = measure(study)
    except (PartError, LoadError, ServingError) as exc:
        print(f"the measurement failed: {exc}", file=sys.stderr)
        return 1
    text = page(parts, found, study.bars, cores())
    print(f"\n{text}")
    rows = {"alone": [asdict(part) for part in parts], "served": [asdict(one) for one in found]}
    print(f"written to {tables.write(out, 'gpu', text, about, **rows)}")
    return budgets.exit_code(budgets.judge(list(study.bars), figures(found, cores())))


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.studies.gpu"))
