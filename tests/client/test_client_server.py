"""The client against the real server, sync and async alike."""

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import facewarden
from facewarden import AsyncClient, Client, ImageError, Threshold, Verdict

PHOTO = Path(__file__).parents[2] / "model_repository" / "preprocess" / "warmup" / "face.jpg"
EMPTY = np.full((240, 320, 3), 128, np.uint8)  # nobody is in it


class Blocking:
    """AsyncClient behind Client's interface, so that one test serves both."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(*args, **options)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            answer = getattr(self._client, name)(*args, **options)
            return self._step(answer) if hasattr(answer, "__anext__") else self._loop.run_until_complete(answer)

        return call

    def _step(self, answers: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(answers))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(answers.aclose())

    def __enter__(self) -> "Blocking":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


KINDS = {"sync": Client, "async": Blocking}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def client(kind: Any, server: Any) -> Iterator[Any]:
    with kind(server.url) as opened:
        yield opened


def pixels() -> Any:
    return np.asarray(Image.open(PHOTO).convert("RGB"))


def test_a_photograph_gets_a_verdict(client: Any) -> None:
    verdict: Verdict = client.check_image(PHOTO)
    assert verdict.label in ("real", "fake", "review") and verdict.error is None
    assert verdict.face and verdict.fake_probability == verdict.face.fake_probability
    assert verdict.threshold and verdict.threshold.label(verdict.fake_probability) == verdict.label
    assert verdict.image_size == pixels().shape[:2] and verdict.path == str(PHOTO)
    assert verdict.model_version and 0 < verdict.latency_ms < 30_000
    height, width = verdict.image_size
    x0, y0, x1, y1 = verdict.face.box
    assert -width < x0 < x1 < 2 * width and -height < y0 < y1 < 2 * height
    assert verdict.face.heatmap is None


def test_path_bytes_and_array_get_the_same_verdict(client: Any) -> None:
    png = io.BytesIO()
    Image.fromarray(pixels()).save(png, "PNG")
    by_path, by_bytes = client.check_image(PHOTO), client.check_image(PHOTO.read_bytes())
    assert by_path.fake_probability == pytest.approx(by_bytes.fake_probability, abs=1e-4)
    by_png, by_array = client.check_image(png.getvalue()), client.check_image(pixels())
    assert by_png.fake_probability == pytest.approx(by_array.fake_probability, abs=1e-4)


def test_nobody_in_the_picture_is_an_answer(client: Any) -> None:
    verdict = client.check_image(EMPTY, heatmap=True)
    assert (verdict.label, verdict.fake_probability, verdict.faces) == ("no_face", None, ())
    assert (verdict.threshold, verdict.model_version, verdict.image_size) == (None, None, (240, 320))


def test_max_faces_and_heatmap(client: Any) -> None:
    verdict = client.check_image(np.concatenate([pixels(), pixels()], 1), max_faces=1, heatmap=True)
    (face,) = verdict.faces
    assert face.heatmap.shape == (14, 14) and 0 <= face.heatmap.min() <= face.heatmap.max() <= 1


def test_check_face(client: Any) -> None:
    verdict = client.check_face(PHOTO, heatmap=True)
    assert verdict.label == verdict.threshold.label(verdict.fake_probability)
    assert verdict.fake_probability == pytest.approx(1 / (1 + np.exp(-verdict.logit)), abs=1e-3)
    assert verdict.heatmap.shape == (14, 14) and 0 <= verdict.quality.brightness <= 1
    assert client.check_face(PHOTO, (0.1, 0.1, 0.6, 0.6)).logit != verdict.logit
    assert client.check_face(PHOTO).heatmap is None


@pytest.mark.parametrize("priority", ["interactive", "bulk"])
def test_both_priorities_are_answered(client: Any, priority: str) -> None:
    assert client.check_image(PHOTO, priority=priority).label
    assert client.check_face(PHOTO, priority=priority).label


def test_thresholds_of_the_caller_hold(kind: Any, server: Any) -> None:
    with kind(server.url, threshold=(0.0, 0.0)) as strict:
        assert strict.check_face(PHOTO).label == strict.check_image(PHOTO).label == "fake"
    with kind(server.url, threshold=Threshold(1.0, 1.0)) as lenient:
        assert lenient.check_face(PHOTO).label == "real"


BAD_IMAGES = {"empty": b"", "text": b"hello", "PDF": b"%PDF-1.7", "truncated": PHOTO.read_bytes()[:3000]}


@pytest.mark.parametrize("data", BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_bad_image_is_an_image_error_in_a_sentence(client: Any, data: bytes) -> None:
    for check in (client.check_image, client.check_face):
        with pytest.raises(ImageError) as caught:
            check(data)
        message = str(caught.value)
        assert message[0].isupper() and message.endswith(".")
        assert not any(word in message for word in ("ensemble", "Traceback", "model.py", "StatusCode", "stub"))


BAD_ROIS = {
    "outside": (0, 0, 2, 1),
    "inverted": (0.5, 0, 0.2, 1),
    "NaN": (float("nan"), 0, 1, 1),
    "tiny": (0, 0, 0.001, 0.001),
}


@pytest.mark.parametrize("roi", BAD_ROIS.values(), ids=BAD_ROIS)
def test_a_bad_roi_is_an_image_error(client: Any, roi: Any) -> None:
    with pytest.raises(ImageError, match="ROI"):
        client.check_face(PHOTO, roi)


def test_many_images_come_in_order_with_errors_as_values(client: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    sizes = [(48 + 8 * i, 64) for i in range(12)]
    images = [np.full((*size, 3), 90, np.uint8) for size in sizes]
    mixed: list[Any] = [*images, b"", PHOTO, str(text), "missing.jpg", None]
    verdicts = list(client.check_images(iter(mixed)))
    assert [v.image_size for v in verdicts[:12]] == sizes
    assert [v.error is None for v in verdicts] == [True] * 12 + [False, True, False, False, False]
    assert [v.path for v in verdicts[12:]] == [None, str(PHOTO), str(text), "missing.jpg", None]
    assert all(str(v.error).endswith(".") and v.label is None for v in verdicts if v.error)


def test_a_generator_is_pulled_no_further_than_the_window(kind: Any, server: Any) -> None:
    pulled = 0

    def endless() -> Iterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield PHOTO.read_bytes()

    with kind(server.url, in_flight=3) as client:
        verdicts = client.check_images(endless())
        assert [next(verdicts).error for _ in range(5)] == [None] * 5
        assert pulled <= 5 + 3
        verdicts.close()


def test_threads_share_a_client(server: Any) -> None:
    rois = [(0.0, 0.0, 0.5 + i / 20, 0.5 + i / 20) for i in range(10)]
    with Client(server.url) as client:
        alone = [client.check_face(PHOTO, roi).logit for roi in rois]
        together: dict[int, list[float]] = {}

        def work(worker: int) -> None:
            together[worker] = [client.check_face(PHOTO, roi).logit for roi in rois]

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for worker in range(6):
        assert together[worker] == pytest.approx(alone, abs=1e-3)


def test_the_deadline_is_kept(client: Any) -> None:
    with pytest.raises(facewarden.DeadlineError, match="in time"):
        client.check_image(PHOTO, timeout_s=0.001)
    (verdict,) = client.check_images([PHOTO], timeout_s=0.001)
    assert isinstance(verdict.error, facewarden.DeadlineError)
    assert client.check_image(PHOTO).error is None


def test_a_closed_client_says_so(kind: Any, server: Any) -> None:
    with kind(server.url) as client:
        client.check_face(PHOTO)
        client.close()
        with pytest.raises(facewarden.ClosedError, match="closed"):
            client.check_face(PHOTO)


def test_a_cancelled_task_leaves_the_client_usable(server: Any) -> None:
    async def main() -> None:
        async with AsyncClient(server.url) as client:
            task = asyncio.create_task(client.check_image(PHOTO))
            await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.check_image(PHOTO)).error is None

    asyncio.run(main())


def test_watch_follows_frames_as_they_come(client: Any) -> None:
    pulled = 0

    def live() -> Iterator[Any]:
        nonlocal pulled
        for image in (EMPTY, pixels(), b"not an image", pixels()):
            pulled += 1
            yield image

    seen = []
    for frame in client.watch(live()):
        seen.append(frame)
        assert pulled == len(seen)  # never ahead
    assert [frame.frame for frame in seen] == [0, 1, 2, 3]
    assert seen[0].label == "no_face" and seen[1].label == seen[2].label == seen[3].label != "no_face"
    assert isinstance(seen[2].error, ImageError)
    assert (seen[3].so_far.frames_with_face, seen[3].so_far.failed) == (2, 1)


def test_ping_and_status(client: Any, server: Any) -> None:
    assert 0 < client.ping() < 5000
    status = client.status()
    assert status.healthy and status.live and status.ready
    assert (status.server, status.url) == ("triton", server.url)
    assert status.version[0].isdigit() and status.model_version
    answering = {model.name for model in status.models if model.canary and model.canary.latency_ms}
    assert answering == {"deepfake_face", "deepfake_image", "deepfake_video"}
    assert {"classifier", "face_detector"} <= {model.name for model in status.models}
