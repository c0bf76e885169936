"""Where a request's time goes in the server, by Triton's statistics: queue, input, compute, output of each model."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tritonclient.grpc import InferenceServerClient

KINDS = ("queue", "input", "compute", "output")
INSIDE = {  # entry model: the models that it asks
    "deepfake_face": ("image_check", "preprocess", "classifier"),
    "deepfake_image": ("face_detector", "image_check", "preprocess", "classifier"),
    "deepfake_video": ("face_detector", "image_check", "preprocess", "classifier"),
}
ENTRY = {"face": "deepfake_face", "image": "deepfake_image", "mixed": "deepfake_image", "stream": "deepfake_video"}


class Counts(NamedTuple):
    """A model's counters: requests, inferences (rows), executions (batches), and ns in all of it and by kind."""

    requests: int
    inferences: int
    executions: int
    total: int
    queue: int
    input: int
    compute: int
    output: int


ZERO = Counts(*[0] * len(Counts._fields))


@dataclass(frozen=True)
class Step:
    """A model's part in the mean request of its entry model: ms by kind, and its mean batch size."""

    model: str
    ms: dict[str, float]
    calls: float  # inferences of a request of the entry model
    mean_batch: float


@dataclass(frozen=True)
class ServerTime:
    """The mean request of an entry model. `rest_ms` is what is in none of the steps: scheduling, copies, own code."""

    entry: str
    requests: int
    server_ms: float
    steps: tuple[Step, ...]
    rest_ms: float

    @property
    def queue_share(self) -> float:
        """Part of the server's time that was spent in queues."""
        return sum(step.ms["queue"] for step in self.steps) / self.server_ms if self.server_ms else float("nan")

    def mean_batch(self, model: str) -> float:
        """Mean batch of one of its models; NaN where it was not asked."""
        return next((step.mean_batch for step in self.steps if step.model == model), float("nan"))


def read(client: InferenceServerClient) -> dict[str, Counts]:
    """The counters of every model, its versions together."""
    found: dict[str, Counts] = {}
    for stats in client.get_inference_statistics().model_stats:
        s = stats.inference_stats
        ns = (int(kind.ns) for kind in (s.success, s.queue, s.compute_input, s.compute_infer, s.compute_output))
        counts = Counts(s.success.count, stats.inference_count, stats.execution_count, *ns)
        found[stats.name] = Counts(*map(operator.add, found.get(stats.name, ZERO), counts))
    return found


def server_time(entry: str, before: Mapping[str, Counts], after: Mapping[str, Counts]) -> ServerTime | None:
    """What the requests between two readings met; None where there were none."""
    gained = {name: Counts(*map(operator.sub, after[name], before.get(name, ZERO))) for name in after}
    whole = gained.get(entry)
    if whole is None or not whole.requests:
        return None
    # An entry model of our own (BLS) computes while it waits for those it asks: that time is theirs, and the rest.
    own = whole._replace(input=0, compute=0, output=0)
    inside = [name for name in INSIDE[entry] if name in gained and gained[name].inferences]
    steps = [_step(entry, own, whole.requests), *(_step(name, gained[name], whole.requests) for name in inside)]
    server_ms = whole.total / whole.requests / 1e6
    rest_ms = max(0.0, server_ms - sum(sum(step.ms.values()) for step in steps))
    return ServerTime(entry, whole.requests, server_ms, tuple(steps), rest_ms)


def _step(model: str, counts: Counts, requests: int) -> Step:
    ms = {kind: getattr(counts, kind) / requests / 1e6 for kind in KINDS}
    return Step(model, ms, counts.inferences / requests, counts.inferences / max(1, counts.executions))
