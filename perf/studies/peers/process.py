"""A peer as a process: started, ready once it answers as ours does, gone afterwards with all its children."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from serving.paths import CACHE, ROOT
from serving.supervisor.options import free_port
from serving.supervisor.processes import dying_with_parent, kill_group

from .settings import Peer, PeersError

READY_S = 180.0  # imports of torch on a busy machine
STOP_S = 5.0


@dataclass(frozen=True)
class Running:
    """A peer that answers."""

    url: str
    pid: int


@contextmanager
def running(peer: Peer, onnx: Path, network: Path, picture: bytes) -> Iterator[Running]:
    """The peer, ready; PeersError where it is not installed, ends, or does not answer in time."""
    if not peer.python.is_file():
        raise PeersError(f"{peer.python.parents[1].name} is missing; make it with: make perf-peers")
    port, log = free_port(), CACHE / "logs" / "peer.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    own = {
        "PEER_ONNX": onnx,
        "PEER_NETWORK": network,
        "PEER_THREADS": peer.threads_each,
        "PEER_WORKERS": peer.processes,
    }
    arguments = [part.format(port=port, workers=peer.processes) for part in peer.command]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            dying_with_parent([str(peer.python), *arguments]),
            cwd=ROOT,
            env=os.environ | {name: str(value) for name, value in own.items()},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        found = Running(f"http://127.0.0.1:{port}/predict", process.pid)
        wait_ready(peer, process, found.url, picture, log)
        yield found
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        kill_group(process.pid)
        process.wait()


def wait_ready(peer: Peer, process: subprocess.Popen[bytes], url: str, picture: bytes, log: Path) -> None:
    """Returns with the first answer; PeersError with the log's last line otherwise."""
    deadline_s, reason = time.monotonic() + READY_S, "it never listened"
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            ask(url, picture)
            return
        except urllib.error.HTTPError as exc:
            reason = f"HTTP {exc.code}"
            break
        except OSError:
            time.sleep(0.2)
    said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise PeersError(f"{peer.name} did not start ({reason}); log {log}: {said}")


def ask(url: str, picture: bytes) -> float:
    """The probability of one picture; OSError where there is no answer."""
    request = urllib.request.Request(url, picture, {"Content-Type": "image/jpeg"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return float(json.loads(answer.read())["fake_probability"])
