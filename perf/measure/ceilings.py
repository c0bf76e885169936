"""What the cores can do without a server: the DALI pipeline alone, the classifier alone, and one after the other.

Each ceiling is the sum of one process a core with one thread each, all busy at the same time, on the picture that the
loads send, in batches as the server forms them. Nothing is checked, queued, copied between processes or answered.
`share` says what the served path reaches of that.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from .alone import Kind, part
from .resources import cores


@dataclass(frozen=True)
class Ceiling:
    """Images a second on all cores together."""

    preprocess: float
    classifier: float
    composed: float
    batch: int
    cores: int


def measure(batch: int, seconds: float = 4.0) -> Ceiling:
    """All three at one batch size, `composed` the higher of two: a shared machine takes away, and never adds.

    Raises PartError.
    """
    preprocess, classifier = rate("decode", batch, seconds), rate("classifier", batch, seconds)
    composed = max(rate("both", batch, seconds) for _ in range(2))
    return Ceiling(preprocess, classifier, composed, batch, cores())


def share(served_per_second: float, ceiling: Ceiling, generator_cores: float) -> float:
    """Served throughput as a share of what the cores could do that the generator left.

    served / (composed x (cores - generator_cores) / cores): `composed` is measured on all cores, each image going
    through DALI and the classifier. The load generator runs on the same cores as the server and needs
    `generator_cores` of them (CPU seconds a second, in the measured time of the same load), which no server could use.
    """
    return served_per_second / (ceiling.composed * (ceiling.cores - generator_cores) / ceiling.cores)


def rate(kind: Kind, batch: int, seconds: float) -> float:
    """Images a second of one process on each core; they begin together once all are ready."""
    with ExitStack() as stack:
        parts = [stack.enter_context(part(kind, batch, seconds)) for _ in range(cores())]
        for one in parts:
            one.wait_ready()
        for one in parts:
            one.tell()
        return sum(one.result().per_second for one in parts)
