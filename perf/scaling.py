"""How throughput grows with cores, with instances of the classifier, and with servers; `embedded-cpu`, faces.

    python -m perf.scaling                 # about 5 minutes; writes scaling.json and scaling.md

Closed loop, generator on the same cores as the servers, as in `make perf`. What a server could do alone on the cores is
the images for each of its CPU seconds: that ratio is free of the generator's part.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from serving.configs import read_config, write_config
from serving.paths import CACHE
from serving.supervisor.options import Options
from serving.supervisor.server import Server

from . import pages
from .figures import summary
from .load import Load, Target, run
from .nvml import Nvml
from .repository import repository_copy
from .resources import Sampler, cores

PROFILE, CLASSIFIER = "embedded-cpu", "classifier"
HEADS = {"what": "varied", "per_second": "faces/s", "per_cpu_s": "faces per server CPU second"}


@dataclass(frozen=True)
class Row:
    """One layout and what it gave; `per_cpu_s` are the images that the servers answer in a second of their CPU time."""

    what: str
    cores: int
    classifier_instances: int
    servers: int
    in_flight: int
    per_second: float
    p95_ms: float
    failed: int
    server_cores: float
    generator_cores: float
    per_cpu_s: float
    memory_mb: float


def measure(what: str, core_count: int, instances: int, servers: int, load: Load) -> Row:
    """Starts the servers on the first `core_count` cores and saturates them."""
    with ExitStack() as stack:
        stack.enter_context(on_cores(core_count))
        repository = stack.enter_context(repository_with(instances))
        running = [stack.enter_context(Server(options(repository, i))) for i in range(servers)]
        samplers = [Sampler(server.pid, Nvml()) for server in running]

        def read() -> tuple[float, float]:
            counters = [sampler.counters() for sampler in samplers]
            return sum(c.server_cpu_s for c in counters), counters[0].at_s

        measured = run([load], Target("grpc", tuple(server.url for server in running)), 3.0, read)
        memory_mb = sum(sampler.pss_mb() for sampler in samplers)
    (cpu_before, begin_s), (cpu_after, end_s) = measured.readings
    found = summary(measured.outcomes[load.name])
    used = (cpu_after - cpu_before) / (end_s - begin_s)
    return Row(
        what,
        core_count,
        instances,
        servers,
        load.in_flight,
        per_second=round(found.per_second, 1),
        p95_ms=round(found.p95_ms, 1),
        failed=found.failed,
        server_cores=round(used, 2),
        generator_cores=round(measured.generator_cores, 2),
        per_cpu_s=round(found.per_second / used, 1),
        memory_mb=round(memory_mb),
    )


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process, and what it starts meanwhile, on so many cores; sched_setaffinity(2)."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def repository_with(instances: int) -> Iterator[Path]:
    """The model repository with so many instances of the classifier, in a folder that is gone afterwards."""
    with repository_copy() as copy:
        config = read_config(copy, CLASSIFIER, PROFILE)
        config.instance_group[0].count = instances
        write_config(copy, CLASSIFIER, PROFILE, config)
        yield copy


def configured_instances() -> int:
    """Instances of the classifier as the repository has them."""
    return int(read_config(Options.model_repository, CLASSIFIER, PROFILE).instance_group[0].count)


def options(repository: Path, number: int) -> Options:
    """A server of its own ports and log."""
    log = CACHE / "logs" / f"scaling-{number}.log"
    return Options(profile=PROFILE, grpc_port=0, http_port=0, metrics_port=0, model_repository=repository, log=log)


def layouts() -> list[tuple[str, int, int, int]]:
    """What is measured: name, cores, instances of the classifier, servers."""
    most, usual = cores(), configured_instances()
    by_cores = [("cores", n, usual, 1) for n in sorted({1, *range(2, most + 1, max(1, most // 4)), most})]
    by_instances = [("classifier instances", most, n, 1) for n in (2, 3, 4)]  # one would stall
    return [*by_cores, *by_instances, *[("servers", most, usual, n) for n in (1, 2, 3)]]


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    names = [field.name for field in fields(Row)]
    return pages.table([HEADS.get(name, name.replace("_", " ")) for name in names], [astuple(row) for row in rows])


def scale(load: Load, tell: Callable[[Row], None]) -> list[Row]:
    """Every layout once."""
    rows = []
    for layout in layouts():
        rows.append(measure(*layout, load))
        tell(rows[-1])
    return rows


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m perf.scaling", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="measured for each layout (default %(default)s)")
    parser.add_argument("--in-flight", type=int, default=16, help="requests at a time (default %(default)s)")
    parser.add_argument("--out", type=Path, default=pages.LATEST, help="folder for the table (default %(default)s)")
    arguments = parser.parse_args(argv)
    about = pages.about("perf.scaling", argv)
    load = Load("face", "face", "closed", arguments.seconds, arguments.in_flight)
    rows = scale(load, lambda row: print(row, flush=True))
    page = f"# Throughput by cores, instances and servers\n\n{table(rows)}\n"
    path = pages.write(arguments.out, "scaling", page, about, rows=[asdict(row) for row in rows])
    print(f"\n{page}\nwritten to {path}")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
