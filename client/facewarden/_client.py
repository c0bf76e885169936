"""The client for threads."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, suppress
from types import TracebackType
from typing import Any, TypeVar

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ._base import CLIENTS, NOTHING_ELSE, BaseClient
from ._codec import WHOLE, Asked, Call, Priority, Roi, face_call, image_call
from ._errors import FacewardenError
from ._feed import Feed
from ._image import Image, image_bytes, image_path
from ._retry import Retry
from ._session import END_S, Session
from ._status import Canary, Status, canary_calls, canary_of, loaded, read_status
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict, failed
from ._video import MAX_SIDE_PX, Drop, Frame, Source, ahead, timed_frames
from ._window import in_order

T = TypeVar("T")


class Client(BaseClient):
    """A connection to a Facewarden server, safe to share between threads.

        with Client("localhost:8001") as client:
            print(client.check_image("photo.jpg").label)

    gRPC channels, and every method of tritonclient but its streams, which are not used here, may be called from many
    threads at once. Make a client after a fork, not before. AsyncClient is its twin.

    Every call raises FacewardenError; its ``timeout_s`` and ``headers`` override and extend those of the client.
    """

    def check_image(
        self,
        image: Image,
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Find the faces of one image and judge each.

        image: a path, encoded bytes (JPEG, PNG, WebP) or a (H, W, 3) uint8 RGB array, which is sent as PNG
        heatmap: also ask for each face's (14, 14) heatmap; max_faces: judge only the largest ones
        """
        asked = self._asked("interactive", priority, heatmap, max_faces)
        return self._check(image, asked, self._retry(timeout_s), headers)

    def check_images(
        self,
        images: Iterable[Image],
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[Verdict, None, None]:
        """Check many images, ``in_flight`` at a time, and yield one verdict for each, in order.

        An image that fails does not raise: its verdict carries the ``error``. ``images`` is pulled as answers are
        taken, so it may be a generator without end. ``timeout_s`` is each image's own.
        """
        asked = self._asked("bulk", priority, heatmap, max_faces)
        self._retry(timeout_s)  # a wrong timeout is told now, not once for each image

        def check(image: Image) -> Verdict:
            return self._try(image, asked, self._retry(timeout_s), headers)

        return in_order(check, images, self._options.in_flight)

    def check_face(
        self,
        image: Image,
        roi: Roi = WHOLE,
        *,
        heatmap: bool = False,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> FaceVerdict:
        """Judge one face whose place is known, without looking for faces: the fast path.

        roi: x0, y0, x1, y1 as fractions of the upright picture, at least 8 pixels a side
        """
        retry = self._retry(timeout_s)
        call = face_call(image_bytes(image), roi, self._asked("interactive", priority, heatmap))
        return self._infer(call, retry, headers)

    def watch(
        self,
        frames: Source,
        *,
        heatmap: bool = False,
        drop: Drop | None = None,
        window: int = 4,
        fps: float | None = None,
        max_side_px: int | None = MAX_SIDE_PX,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[FrameVerdict, None, None]:
        """Watch a stream and yield, in order, its running verdict after each frame.

        frames: what PyAV opens (a file, rtsp://..., /dev/video0; needs the extra ``video``; VideoError where it
        cannot be read), or images as they come: arrays, encoded bytes, paths
        heatmap: also the (14, 14) heatmap of each frame's first face
        drop: None for what can wait, a file say; "oldest" for what is live: beyond ``window`` frames that wait for
        the server the oldest is left out. Images of the caller's are pulled ahead only with "oldest".
        fps: frames a second of bare images; None: they are as old as they look when they come
        max_side_px: larger frames are scaled down before they are sent; None: never
        timeout_s: each frame's own deadline

        A frame that fails does not raise: its verdict carries the ``error``. A stream that the server forgot, or a
        server that was restarted, goes on where the last answer left it. Leaving the loop ends the stream.
        """
        self._retry(timeout_s)
        session = Session(heatmap)
        source = timed_frames(frames, fps, max_side_px)
        feed = Feed(source, window, drop == "oldest") if ahead(frames, drop, window, fps, max_side_px) else None
        try:
            with closing(feed.items() if feed else source) as items:
                for frame in items:
                    yield self._watch(session, frame, feed.dropped if feed else 0, self._retry(timeout_s), headers)
        finally:
            if (end := session.end()) and not self._closed.is_set():
                with suppress(FacewardenError):  # a stream that is not ended is forgotten after a minute
                    self._infer(end, self._retry(END_S, retries=0), headers)

    def ping(self, *, timeout_s: float | None = CLIENTS, headers: Mapping[str, str] | None = None) -> float:
        """Latency in ms of the smallest question, whether the server lives.

        Few retries: UnavailableError comes within a second where nothing listens.
        """
        retry = self._retry(timeout_s, retries=2)
        self._send("is_server_live", retry, headers)
        return retry.elapsed_ms

    def status(self, *, timeout_s: float | None = CLIENTS, headers: Mapping[str, str] | None = None) -> Status:
        """Look at the server: version, readiness, models, and a real inference through each model that clients call.

        Raises only where no server answers; a model that fails is told in the status.
        """
        self.ping(timeout_s=timeout_s, headers=headers)

        def ask(method: str, *arguments: str) -> Any:
            return self._send(method, self._retry(timeout_s, retries=0), headers, *arguments)

        metadata, live, ready = ask("get_server_metadata"), ask("is_server_live"), ask("is_server_ready")
        models = {model: bool(ask("is_model_ready", *model)) for model in loaded(ask("get_inference_statistics"))}
        canaries = {c.model_name: self._canary(c, self._retry(timeout_s, retries=0), headers) for c in canary_calls()}
        return read_status(self.url, metadata, live, ready, models, canaries)

    def close(self) -> None:
        """End the connection; calls under way raise ClosedError."""
        self._closed.set()
        self._triton.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._closed = threading.Event()
        self._triton = InferenceServerClient(**self._options.connection())

    def _check(self, image: Image, asked: Asked, retry: Retry, headers: Mapping[str, str] | None) -> Verdict:
        return self._infer(image_call(image_bytes(image), asked, image_path(image)), retry, headers)

    def _try(self, image: Image, asked: Asked, retry: Retry, headers: Mapping[str, str] | None) -> Verdict:
        try:
            return self._check(image, asked, retry, headers)
        except FacewardenError as exc:
            return failed(exc, image_path(image), retry.elapsed_ms)

    def _watch(
        self, session: Session, frame: Frame, dropped: int, retry: Retry, headers: Mapping[str, str] | None
    ) -> FrameVerdict:
        try:
            call = session.call(frame.number, frame.time_s, image_bytes(frame.image), dropped)
            return self._infer(call, retry, headers)
        except FacewardenError as exc:
            return session.failed(exc, frame.number, frame.time_s, retry.elapsed_ms)

    def _canary(self, call: Call[Any], retry: Retry, headers: Mapping[str, str] | None) -> Canary:
        try:
            return canary_of(self._infer(call, retry, headers))
        except FacewardenError as exc:
            return Canary(error=exc)

    def _infer(self, call: Call[T], retry: Retry, headers: Mapping[str, str] | None) -> T:
        result = self._send("infer", retry, headers, again=call.again, **call.arguments)
        return call.read(result.as_numpy, retry.elapsed_ms)

    def _send(
        self,
        method: str,
        retry: Retry,
        headers: Mapping[str, str] | None,
        *args: Any,
        again: Mapping[str, Any] = NOTHING_ELSE,
        **arguments: Any,
    ) -> Any:
        """Call tritonclient, again (with the arguments of ``again``) where that is safe; the only place that waits."""
        metadata = self._options.metadata(headers)
        while not self._closed.is_set():
            try:
                call = getattr(self._triton, method)
                return call(*args, headers=metadata, client_timeout=retry.left_s, **arguments)
            except InferenceServerException as exc:
                error = self._error(exc)
                if (pause_s := retry.pause_s(error)) is None:
                    raise retry.cause(error) from exc
            except ValueError as exc:
                if not self._closed.is_set():
                    raise
                raise self._closed_error() from exc  # gRPC: the channel was closed in between
            arguments |= again
            self._closed.wait(pause_s)
        raise self._closed_error()
