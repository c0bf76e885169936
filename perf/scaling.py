"""How throughput grows with cores, with instances of the classifier, and with servers; `embedded-cpu`, faces.

    python -m perf.scaling                 # about 5 minutes; writes perf/results/scaling.json and scaling.md

Closed loop, generator on the same cores as the servers, as in `make perf`. What a server could do alone on the cores is
the images for each of its CPU seconds: that ratio is free of the generator's part.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from export import machine
from serving.installation import CACHE, ROOT
from serving.options import Options
from serving.server import Server

from .figures import summary
from .load import Load, Target, run
from .nvml import Nvml
from .repository import read_config, repository_copy, write_config
from .resources import Sampler, cores

RESULTS = ROOT / "perf" / "results"
PROFILE, CLASSIFIER = "embedded-cpu", "classifier"


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
        readings: list[list[float]] = []

        def reading() -> None:
            counters = [sampler.counters() for sampler in samplers]
            readings.append([sum(c.server_cpu_s for c in counters), counters[0].at_s])

        measured = run([load], Target("grpc", tuple(server.url for server in running)), 3.0, reading, reading)
        memory_mb = sum(sampler.pss_mb() for sampler in samplers)
    (cpu_before, begin_s), (cpu_after, end_s) = readings
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
    lines = [
        "| varied | cores | classifier instances | servers | faces/s | p95 ms | server cores | generator cores "
        "| faces per server CPU second | memory MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r.what} | {r.cores} | {r.classifier_instances} | {r.servers} | {r.per_second} | {r.p95_ms} "
            f"| {r.server_cores} | {r.generator_cores} | {r.per_cpu_s} | {r.memory_mb} |"
        )
    return "\n".join(lines)


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
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the table (default %(default)s)")
    arguments = parser.parse_args(argv)
    load_before = os.getloadavg()[0]
    load = Load("face", "face", "closed", arguments.seconds, arguments.in_flight)
    rows = scale(load, lambda row: print(row, flush=True))
    report = {
        "command": f"python -m perf.scaling --seconds {arguments.seconds:g} --in-flight {arguments.in_flight}",
        "machine": machine.machine(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "load_before": round(load_before, 1),
        "rows": [asdict(row) for row in rows],
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "scaling.json").write_text(json.dumps(report, indent=2) + "\n")
    about = f"`{report['command']}` on {report['machine']['cpu']}, {cores()} cores, at commit {report['commit']}."
    (arguments.out / "scaling.md").write_text(f"{about}\n\n{table(rows)}\n")
    print(f"\n{table(rows)}\n\nwritten to {arguments.out / 'scaling.json'}")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
