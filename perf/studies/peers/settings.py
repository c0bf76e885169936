"""`peers.toml` and the student that all serve. Pure but for reading files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from reports.budgets import Budget
from serving.files import digest
from serving.paths import ROOT
from serving.settings import Settings

from ...measure.resources import cores

TABLE = Path(__file__).with_name("peers.toml")
AtLeast0 = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1 = Annotated[int, msgspec.Meta(ge=1)]


class PeersError(Exception):
    """The comparison cannot be made; the message says what is missing."""


class Peer(Settings):
    """A server that is not ours.

    Args:
        command: arguments of its environment's Python, with {port} and {workers}.
        workers, threads: processes, and threads of the network in each; 0 for the machine's cores.
    """

    name: str
    what: str
    environment: Literal["torch", "onnx", "litserve"]
    command: tuple[str, ...]
    workers: AtLeast0
    threads: AtLeast0

    def __post_init__(self) -> None:
        if not any("{port}" in part for part in self.command):
            raise ValueError(f"peer {self.name!r}: its command has a {{port}}")

    @property
    def processes(self) -> int:
        """How many it runs."""
        return self.workers or cores()

    @property
    def threads_each(self) -> int:
        """Of the network, in each process."""
        return self.threads or cores()

    @property
    def python(self) -> Path:
        """The interpreter of its environment."""
        return ROOT / f".venv-peers-{self.environment}" / "bin" / "python"


class PeerStudy(Settings):
    """What is compared, and how; `tolerance` is of the probability, against ours."""

    peers: Annotated[tuple[Peer, ...], msgspec.Meta(min_length=1)] = msgspec.field(name="peer")
    in_flight: Annotated[tuple[AtLeast1, ...], msgspec.Meta(min_length=1)]
    seconds: Annotated[float, msgspec.Meta(gt=0)]
    warm_up_s: Annotated[float, msgspec.Meta(ge=0)]
    rounds: AtLeast1
    tolerance: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    bars: tuple[Budget, ...] = msgspec.field(name="bar", default=())


def network_of(onnx: Path) -> Path:
    """The torch network that a graph was converted from; PeersError where its weights are not kept beside it."""
    network, manifest = onnx.with_name("network.pt"), onnx.with_name("manifest.json")
    if network.is_file() and manifest.is_file():
        files: dict[str, str] = json.loads(manifest.read_text())["files"]
        if digest(onnx) in files.values():
            return network
    raise PeersError(f"the torch network of {onnx} is not beside it; give --onnx of a version that has its network.pt")
