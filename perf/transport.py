"""Does system shared memory pay? The same requests with the picture in the gRPC message, and in shared memory.

    python -m perf.transport            # a minute; writes transport.json and .md

One request in flight, Triton's own client, both ways in turn. Shared memory is what a client on the same machine could
use: the picture is written into a region that the server has mapped, and the message carries its name.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import InferenceServerClient, InferInput

from serving.paths import CACHE
from serving.supervisor.options import Options
from serving.supervisor.server import ADMIN, Server

from . import pages
from .nvml import Nvml
from .pictures import face, jpeg, photo, scene
from .resources import Sampler

PICTURES: dict[str, tuple[str, Callable[[], bytes]]] = {  # name: model, picture
    "256 px face": ("deepfake_face", face),
    "640x480 photo": ("deepfake_image", photo),
    "2560x1920 photo": ("deepfake_image", lambda: jpeg(scene(2560, 1920))),
}
WARM_UP = 5


@dataclass(frozen=True)
class Way:
    """One picture sent one way: medians of the latency, and CPU of client and server a request."""

    picture: str
    kilobytes: float
    way: str
    p50_ms: float
    client_cpu_ms: float
    server_cpu_ms: float


@contextmanager
def region(client: InferenceServerClient, name: str, size: int, headers: dict[str, str]) -> Iterator[object]:
    """A shared memory region that the server has mapped; it forgets it when it ends, which is soon.

    Its key is its own: under a known key the server keeps the region that it mapped before, with the size of that one.
    """
    key = f"/facewarden_perf_{size}"
    handle = shm.create_shared_memory_region(name, key, size)
    try:
        client.register_system_shared_memory(name, key, size, headers=headers)
        yield handle
    finally:
        shm.destroy_shared_memory_region(handle)


def inputs(model: str, data: np.ndarray, name: str, handle: object | None) -> list[InferInput]:
    """A request's tensors, the picture in the message or in the region."""
    shape = [1, len(data)] if model == "deepfake_face" else [len(data)]
    image = InferInput("IMAGE", shape, "UINT8")
    if handle is None:
        image.set_data_from_numpy(data.reshape(shape))
    else:
        shm.set_shared_memory_region(handle, [data])
        image.set_shared_memory(name, data.nbytes)
    if model != "deepfake_face":
        return [image]
    roi = InferInput("ROI", [1, 4], "FP32")
    roi.set_data_from_numpy(np.array([[0, 0, 1, 1]], np.float32))
    return [image, roi]


def compared(
    client: InferenceServerClient, sampler: Sampler, headers: dict[str, str], name: str, count: int
) -> list[Way]:
    """Both ways in turn, `count` rounds of ten requests each."""
    model, make = PICTURES[name]
    data = np.frombuffer(make(), np.uint8)
    taken: dict[str, list[tuple[float, float, float]]] = {"message": [], "shared memory": []}
    with region(client, name, data.nbytes, headers) as handle:
        ways = {"message": None, "shared memory": handle}
        for number in range(WARM_UP + count):
            for way, through in ways.items():
                server_s, own_s, times_s = sampler.counters().server_cpu_s, time.process_time(), []
                for _ in range(10):
                    begun_s = time.monotonic()
                    client.infer(model, inputs(model, data, name, through), priority=1)
                    times_s.append(time.monotonic() - begun_s)
                own_s = time.process_time() - own_s
                server_s = sampler.counters().server_cpu_s - server_s
                if number >= WARM_UP:
                    taken[way].append((float(np.median(times_s)), own_s / 10, server_s / 10))
    return [
        Way(name, data.nbytes / 1e3, way, *(float(value) * 1e3 for value in np.median(values, 0)))
        for way, values in taken.items()
    ]


def main(argv: list[str] | None = None) -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m perf.transport", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="rounds of ten requests each way (default %(default)s)")
    parser.add_argument("--out", type=Path, default=pages.LATEST, help="folder (default %(default)s)")
    arguments = parser.parse_args(argv)
    about = pages.about("perf.transport", argv)
    log = CACHE / "logs" / "transport.log"
    with (
        Server(Options(grpc_port=0, http_port=0, metrics_port=0, log=log)) as server,
        InferenceServerClient(server.url) as client,
    ):
        headers = {f"triton-grpc-protocol-{ADMIN}": server.api.headers[ADMIN]}
        sampler = Sampler(server.pid, Nvml())
        found = [way for name in PICTURES for way in compared(client, sampler, headers, name, arguments.count)]
    cells = [
        (w.picture, f"{w.kilobytes:.0f}", w.way, f"{w.p50_ms:.2f}", f"{w.client_cpu_ms:.2f}", f"{w.server_cpu_ms:.1f}")
        for w in found
    ]
    head = ("picture", "kB", "sent in", "p50 ms", "client CPU ms", "server CPU ms")
    page = (
        f"# The picture in the message or in shared memory\n\nOne in flight, medians.\n\n{pages.table(head, cells)}\n"
    )
    print(page)
    pages.write(arguments.out, "transport", page, about, rows=[asdict(way) for way in found])
    return 0


if __name__ == "__main__":
    sys.exit(main())
