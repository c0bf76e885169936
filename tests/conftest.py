"""What every suite shares: one real server for the whole run, and pictures made of one public-domain portrait."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:  # the suites of export run without Triton's client
    from tritonclient.grpc import InferResult

    from serving.supervisor.options import Options
    from serving.supervisor.server import Server

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = ROOT / "model_repository"
PORTRAIT = ROOT / "demo" / "images" / "astronaut.jpg"
FACE_JPEG = REPOSITORY / "preprocess" / "warmup" / "face.jpg"


@pytest.fixture(scope="session")
def new_options(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Options]:
    """Options of a server on free loopback ports, with its log in a folder of the test run."""
    from serving.supervisor.options import Options

    def make(**settings) -> Options:
        log = tmp_path_factory.mktemp("triton") / "triton.log"
        patient = {"ready_timeout_s": 300, "stop_timeout_s": 60}  # only bound a failure, however slow the machine
        return Options(**{"grpc_port": 0, "http_port": 0, "metrics_port": 0, "log": log, **patient, **settings})

    return make


SERVER = pytest.StashKey["Server"]()


@pytest.fixture(scope="session")
def server(new_options: Callable[..., Options], request: pytest.FixtureRequest) -> Iterator[Server]:
    """The real server, started once and stopped after the last test."""
    from serving.supervisor.server import Server

    with Server(new_options()) as running:
        request.session.stash[SERVER] = running
        yield running


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where a test before took the shared server down, it fails alone: the others get the server back."""
    from serving.errors import ServerError

    running = item.session.stash.get(SERVER, None)
    if running is None:
        return
    try:
        running.check_alive()
    except ServerError as exc:
        print(f"{exc}; started again")
        running.stop()
        running.start()
        running.wait_ready()


@contextmanager
def _infer(url: str) -> Iterator[Callable[..., InferResult]]:
    import tritonclient.grpc as triton

    kinds = {np.dtype(np.uint8): "UINT8", np.dtype(np.float32): "FP32", np.dtype(np.int32): "INT32"}

    def ask(model: str, inputs: dict[str, np.ndarray], outputs: list[str] | None = None, **options) -> InferResult:
        tensors = [triton.InferInput(name, list(array.shape), kinds[array.dtype]) for name, array in inputs.items()]
        for value, array in zip(tensors, inputs.values(), strict=True):
            value.set_data_from_numpy(array)
        wanted = [triton.InferRequestedOutput(name) for name in outputs] if outputs else None
        return client.infer(model, tensors, outputs=wanted, **options)

    with triton.InferenceServerClient(url) as client:
        yield ask


@pytest.fixture(scope="session")
def infer_at() -> Callable[[str], AbstractContextManager[Callable[..., InferResult]]]:
    """`with infer_at(url) as infer`: as `infer`, of a server of the test's own."""
    return _infer


@pytest.fixture(scope="session")
def infer(server: Server) -> Iterator[Callable[..., InferResult]]:
    """Asks the server by Triton's own client, for what ours would refuse or hide: infer(model, {input: array})."""
    with _infer(server.url) as ask:
        yield ask


@pytest.fixture(scope="session")
def portrait() -> Image.Image:
    """The genuine portrait, 512x512 RGB."""
    with Image.open(PORTRAIT) as image:
        return image.convert("RGB")


@pytest.fixture(scope="session")
def portrait_jpeg() -> bytes:
    """The genuine portrait as its JPEG file."""
    return PORTRAIT.read_bytes()


@pytest.fixture(scope="session")
def face_jpeg() -> bytes:
    """A 256x256 crop of its face as JPEG."""
    return FACE_JPEG.read_bytes()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """A Pillow image as file bytes of a format, options as for Image.save."""

    def save(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return save


@pytest.fixture(scope="session")
def as_array() -> Callable[[bytes], np.ndarray]:
    """Bytes as the (L,) uint8 array that Triton takes."""
    return lambda data: np.frombuffer(data, np.uint8)
