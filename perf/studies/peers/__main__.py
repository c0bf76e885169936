"""Ours and its peers under the same load: `python -m perf.peers [--onnx model.onnx] [--only NAME ...]`.

Reads `peers.toml`; writes `peers.json` and `.md`. Only one server runs at a time; all answer the same
pictures with the same probability, which is checked before anything is measured.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from facewarden import Client
from serving.errors import ServingError
from serving.files import digest
from serving.paths import CACHE, REPOSITORY, ROOT
from serving.supervisor.options import Options
from serving.supervisor.server import Server

from .. import budgets, pages
from ..figures import summary
from ..load import Load, LoadError, Target, run
from ..nvml import Nvml
from ..pictures import face, jpeg
from ..repository import repository_copy, served_graph
from ..resources import Sampler, cores, use
from . import compare, process
from .compare import OURS, OVER_HTTP, Measurement
from .settings import TABLE, Peer, PeersError, Settings, network_of, settings

WHAT = {
    OURS: "Triton as this repository serves it: `deepfake_face` over gRPC by the project's client",
    OVER_HTTP: "the same server over HTTP, its requests posted by what posts the peers' (they are made once)",
}


def parity_pictures() -> list[bytes]:
    """Faces of several sizes and brightnesses, all of the whole picture."""
    portrait = Image.open(io.BytesIO(face())).convert("RGB")
    turned = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return [face(), jpeg(turned), jpeg(portrait.resize((224, 224))), jpeg(turned.point(lambda value: value // 2))]


@contextmanager
def ours(onnx: Path) -> Iterator[tuple[dict[str, Target], int]]:
    """Our server, with that graph as its classifier: both ways to ask it, and its process."""
    log = CACHE / "logs" / "peers.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        same = digest(served_graph()) == digest(onnx)
        repository = REPOSITORY if same else stack.enter_context(repository_copy(onnx))
        options = Options(model_repository=repository, grpc_port=0, http_port=0, metrics_port=0, log=log)
        server = stack.enter_context(Server(options))
        targets = {
            OURS: Target("grpc", (server.url,)),
            OVER_HTTP: Target("kserve", (f"http://{server.options.http_url}",)),
        }
        yield targets, server.pid


def measure(server: str, number: int, target: Target, pid: int, table: Settings) -> list[Measurement]:
    """One server in one round: all loads, one after the other."""
    found = []
    with Sampler(pid, Nvml()) as sampler:
        for in_flight in table.in_flight:
            load = Load("face", ask="face", loop="closed", seconds=table.seconds, in_flight=in_flight)
            measured = run([load], target, table.warm_up_s, sampler.counters)
            figures, cpu = summary(measured.outcomes["face"]), use(*measured.readings, measured.generator_cores)
            memory = [s.memory_mb for s in sampler.between(measured.begin_s, measured.begin_s + measured.seconds)]
            found.append(
                Measurement(
                    server=server,
                    round=number,
                    in_flight=in_flight,
                    per_second=figures.per_second,
                    p50_ms=figures.p50_ms,
                    p95_ms=figures.p95_ms,
                    failed=figures.failed,
                    memory_mb=max(memory, default=float("nan")),
                    server_cores=cpu.server_cores,
                    others_cores=cpu.others_cores,
                    stolen_cores=cpu.stolen_cores,
                    generator_cores=measured.generator_cores,
                )
            )
            print(line(found[-1]), flush=True)
    return found


def line(m: Measurement) -> str:
    """What is told while it is measured."""
    return (
        f"{m.round + 1}  {m.server:20} {m.in_flight:3} in flight  {m.per_second:6.1f}/s  p50 {m.p50_ms:6.1f}  "
        f"p95 {m.p95_ms:6.1f} ms  {m.memory_mb:5.0f} MB  failed {m.failed}  "
        f"others {m.others_cores:.2f}, stolen {m.stolen_cores:.2f} cores"
    )


def probabilities(target: Target) -> list[float]:
    """Our answers to the pictures of the parity check."""
    with Client(target.urls[0]) as client:
        return [client.check_face(picture).fake_probability for picture in parity_pictures()]


def off_by(peer: Peer, url: str, expected: list[float], tolerance: float) -> float:
    """The largest distance of a peer's answers from ours; PeersError beyond the tolerance."""
    found = [process.ask(url, picture) for picture in parity_pictures()]
    off = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if off > tolerance:
        raise PeersError(f"{peer.name} answers {found}, ours {expected}: not the same student within {tolerance}")
    return off


def compared(
    table: Settings, peers: list[Peer], onnx: Path, network: Path
) -> tuple[list[Measurement], dict[str, float]]:
    """All rounds: ours, then each peer; and how far each peer's probability is from ours."""
    found: list[Measurement] = []
    off: dict[str, float] = {}
    for number in range(table.rounds):
        with ours(onnx) as (targets, pid):
            expected = probabilities(targets[OURS])
            for name, target in targets.items():
                found += measure(name, number, target, pid, table)
        for peer in peers:
            with process.running(peer, onnx, network, face()) as server:
                off[peer.name] = off_by(peer, server.url, expected, table.tolerance)
                found += measure(peer.name, number, Target("http", (server.url,)), server.pid, table)
    return found, off


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Options from the command line."""
    parser = argparse.ArgumentParser(prog="python -m perf.peers", description=__doc__.splitlines()[0])
    graph = served_graph()
    parser.add_argument("--onnx", type=Path, default=graph, help="the student's graph (default: the served one)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="peers by name (default: all)")
    parser.add_argument("--rounds", type=int, help="of all servers (default: of peers.toml)")
    parser.add_argument("--out", type=Path, default=pages.LATEST, help="folder (default %(default)s)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Command line entry: 0 the bars hold, 1 one does not, or a server failed or answered otherwise, 2 usage."""
    arguments = parse(argv)
    about = pages.about("perf.peers", argv)
    try:
        table = settings(TABLE.read_text())
        table = replace(table, rounds=arguments.rounds or table.rounds)
        peers = [peer for peer in table.peers if not arguments.only or peer.name in arguments.only]
        network = network_of(arguments.onnx)
    except (PeersError, OSError) as exc:
        print(f"cannot compare: {exc}", file=sys.stderr)
        return 2
    try:
        measured, off = compared(table, peers, arguments.onnx.resolve(), network)
    except (PeersError, ServingError, LoadError, OSError) as exc:
        print(f"the comparison failed: {exc}", file=sys.stderr)
        return 1
    rows = compare.rows(measured)
    loads = (
        f"Closed loops of one 256 px JPEG face a request, {table.seconds:g} s each after {table.warm_up_s:g} s of "
        f"warm-up, {table.rounds} rounds, medians; generator and server share {cores()} cores; one server at a time. "
        f"Every peer answered {len(parity_pictures())} pictures within {table.tolerance:g} of our probability."
    )
    what = {**WHAT, **{peer.name: peer.what for peer in peers}}
    verdicts = budgets.judge(list(table.bars), compare.figures(rows, peers))
    page = compare.page(rows, what, off, loads, verdicts)
    print(f"\n{page}")
    path = pages.write(
        arguments.out,
        "peers",
        page,
        about,
        onnx=os.path.relpath(arguments.onnx, ROOT),
        rows=[asdict(row) for row in rows],
        off_by=off,
        measurements=[asdict(m) for m in measured],
    )
    print(f"written to {path}")
    return int(any(m.failed for m in measured) or budgets.exit_code(verdicts))


if __name__ == "__main__":
    sys.exit(main())
