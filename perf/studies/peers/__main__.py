"""Ours and its peers under the same load: `python -m perf.studies.peers`.

Reads `peers.toml`; writes `peers.json` and `.md`. Only one server runs at a time; all answer the same
pictures with the same probability, which is checked before anything is measured.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

import msgspec
from PIL import Image

from facewarden import Client
from perf import LATEST
from reports import budgets, tables
from serving.errors import ServingError
from serving.files import digest
from serving.paths import REPOSITORY, ROOT
from serving.settings import command_line, read_toml

from ...load.loads import Load, LoadError, Target
from ...load.pictures import face, jpeg
from ...load.run import run
from ...measure.nvml import Nvml
from ...measure.resources import Sampler, cores, use
from ...measure.summaries import summary
from ...server import own_server
from ..repository import repository_copy, served_graph
from . import compare, process
from .compare import OURS, OVER_HTTP, Measurement
from .settings import TABLE, Peer, PeersError, PeerStudy, network_of

WHAT = {
    OURS: "`deepfake_face` over gRPC by the project's client",
    OVER_HTTP: "the same server, asked over HTTP as the peers are",
}


def parity_pictures() -> list[bytes]:
    """Faces of several sizes and brightnesses, all of the whole picture."""
    portrait = Image.open(io.BytesIO(face())).convert("RGB")
    turned = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return [face(), jpeg(turned), jpeg(portrait.resize((224, 224))), jpeg(turned.point(lambda value: value // 2))]


@contextmanager
def ours(onnx: Path) -> Iterator[tuple[dict[str, Target], int]]:
    """Our server, with that graph as its classifier: both ways to ask it, and its process."""
    with ExitStack() as stack:
        same = digest(served_graph()) == digest(onnx)
        repository = REPOSITORY if same else stack.enter_context(repository_copy(onnx))
        server = stack.enter_context(own_server("peers", model_repository=repository))
        targets = {
            OURS: Target("grpc", (server.url,)),
            OVER_HTTP: Target("kserve", (f"http://{server.options.http_url}",)),
        }
        yield targets, server.pid


def measure(server: str, number: int, target: Target, pid: int, study: PeerStudy) -> list[Measurement]:
    """One server in one round: all loads, one after the other."""
    found = []
    with Sampler(pid, Nvml()) as sampler:
        for in_flight in study.in_flight:
            load = Load("face", ask="face", loop="closed", seconds=study.seconds, in_flight=in_flight)
            measured = run([load], target, study.warm_up_s, sampler.counters)
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
    study: PeerStudy, peers: list[Peer], onnx: Path, network: Path
) -> tuple[list[Measurement], dict[str, float]]:
    """All rounds: ours, then each peer; and how far each peer's probability is from ours."""
    found: list[Measurement] = []
    off: dict[str, float] = {}
    for number in range(study.rounds):
        with ours(onnx) as (targets, pid):
            expected = probabilities(targets[OURS])
            for name, target in targets.items():
                found += measure(name, number, target, pid, study)
        for peer in peers:
            with process.running(peer, onnx, network, face()) as server:
                off[peer.name] = off_by(peer, server.url, expected, study.tolerance)
                found += measure(peer.name, number, Target("http", (server.url,)), server.pid, study)
    return found, off


def main(onnx: Path | None = None, only: tuple[str, ...] = (), rounds: int | None = None, out: Path = LATEST) -> int:
    """Compares our server with its peers under the same load, as ratios to ours.

    Exit code: 0 the bars hold, 1 one does not, or a server failed or answered otherwise, 2 usage.

    Args:
        onnx: the student's graph; the served one where it is not given.
        only: peers by name; all where none is given.
        rounds: of all servers; those of peers.toml where it is not given.
        out: folder of the page.
    """
    about, onnx = tables.measured_on("perf.studies.peers"), onnx or served_graph()
    try:
        study = read_toml(TABLE, PeerStudy)
        study = msgspec.structs.replace(study, rounds=rounds or study.rounds)
        peers = [peer for peer in study.peers if not only or peer.name in only]
        network = network_of(onnx)
    except (PeersError, ValueError, OSError) as exc:
        print(f"cannot compare: {exc}", file=sys.stderr)
        return 2
    try:
        measured, off = compared(study, peers, onnx.resolve(), network)
    except (PeersError, ServingError, LoadError, OSError) as exc:
        print(f"the comparison failed: {exc}", file=sys.stderr)
        return 1
    rows = compare.rows(measured)
    loads = (
        f"Closed loops of 256 px faces, {study.seconds:g} s each, medians of {study.rounds} rounds, one server at a "
        f"time. Generator and server share {cores()} cores. Peers answered {len(parity_pictures())} pictures within "
        f"{study.tolerance:g} of our probability."
    )
    what = {**WHAT, **{peer.name: peer.what for peer in peers}}
    judgements = budgets.judge(list(study.bars), compare.figures(rows, peers))
    page = compare.page(rows, what, off, loads, judgements)
    print(f"\n{page}")
    found = {"rows": [asdict(row) for row in rows], "off_by": off, "measurements": [asdict(m) for m in measured]}
    path = tables.write(out, "peers", page, about, onnx=os.path.relpath(onnx, ROOT), **found)
    print(f"written to {path}")
    return int(any(m.failed for m in measured) or budgets.exit_code(judgements))


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.studies.peers"))
