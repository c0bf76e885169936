"""`peers.toml` and the student that all serve. Pure but for reading files.

PeersError
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.files import digest
from serving.paths import ROOT

from ..budgets import Budget, BudgetError
from ..resources import cores

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).with_name("peers.toml")
ENVIRONMENTS = ("torch", "onnx", "litserve")


class PeersError(Exception):
    """The comparison cannot be made; the message says what is missing."""


@dataclass(frozen=True)
class Peer:
    """A server that is not ours.

    Args:
        command: arguments of its environment's Python, with {port} and {workers}.
        workers, threads: processes, and threads of the network in each; 0 for the machine's cores.
    """

    name: str
    what: str
    environment: str
    command: tuple[str, ...]
    workers: int
    threads: int

    def __post_init__(self) -> None:
        if self.environment not in ENVIRONMENTS:
            raise PeersError(f"peer {self.name!r}: environment is one of {', '.join(ENVIRONMENTS)}")
        if self.workers < 0 or self.threads < 0 or not any("{port}" in part for part in self.command):
            raise PeersError(f"peer {self.name!r}: workers and threads are 0 or more, command has a {{port}}")
        object.__setattr__(self, "workers", self.workers or cores())
        object.__setattr__(self, "threads", self.threads or cores())

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ROOT / f".venv-peers-{self.environment}" / "bin" / "python"


@dataclass(frozen=True)
class Settings:
    """What is compared, and how."""

    peers: tuple[Peer, ...]
    in_flight: tuple[int, ...]
    seconds: float
    warm_up_s: float
    rounds: int
    tolerance: float
    bars: tuple[Budget, ...] = ()

    def __post_init__(self) -> None:
        if not self.peers or not self.in_flight or min(self.in_flight) < 1 or self.rounds < 1:
            raise PeersError("peers.toml: at least one peer, one number in flight and one round")
        if self.seconds <= 0 or self.warm_up_s < 0 or not 0 < self.tolerance < 1:
            raise PeersError("peers.toml: seconds above 0, warm_up_s 0 or more, tolerance between 0 and 1")


def settings(text: str) -> Settings:
    """Settings from TOML; PeersError for what cannot be."""
    try:
        table = tomllib.loads(text)
        peers = tuple(Peer(**{**peer, "command": tuple(peer["command"])}) for peer in table.pop("peer", []))
        bars = tuple(Budget(**bar) for bar in table.pop("bar", []))
        return Settings(peers=peers, bars=bars, **{**table, "in_flight": tuple(table.get("in_flight", ()))})
    except (tomllib.TOMLDecodeError, TypeError, KeyError, BudgetError) as exc:
        raise PeersError(f"peers.toml: {exc}") from exc


def network_of(onnx: Path) -> Path:
    """The torch network that a graph was converted from; PeersError where its weights are not kept beside it."""
    network, manifest = onnx.with_name("network.pt"), onnx.with_name("manifest.json")
    if network.is_file() and manifest.is_file():
        files: dict[str, str] = json.loads(manifest.read_text())["files"]
        if digest(onnx) in files.values():
            return network
    raise PeersError(f"the torch network of {onnx} is not beside it; give --onnx of a version that has its network.pt")
