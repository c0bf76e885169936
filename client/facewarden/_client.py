"""The client for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing, suppress
from typing import Any, TypeAlias, TypeVar

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ._base import USE_CLIENT_DEFAULT, BaseClient
from ._call import Call
from ._errors import FacewardenError
from ._image import Image, image_bytes, image_path
from ._read_ahead import ReadAhead
from ._session import END_TIMEOUT_S, Session
from ._status import Canary, Status, canary_requests, loaded_models, read_status, to_canary
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict
from ._window import map_in_order
from .video import MAX_SIDE_PX, Drop, Frame, Source, reads_ahead, timed_frames
from .wire import WHOLE_PICTURE, Priority, Request, RequestOptions, Roi, face_request, image_request

T = TypeVar("T")
Keywords: TypeAlias = dict[str, Any]


class Client(BaseClient):
    """A connection to a Facewarden server, safe to share between threads.

        with Client("localhost:8001") as client:
            print(client.check_image("photo.jpg").label)

    Every call may raise FacewardenError. Its ``timeout_s`` replaces the client's, its ``headers`` are added to them.

    gRPC channels and tritonclient's methods may be called from many threads at once. Only its streams may not, and they
    are not used here. Make a client after a fork, not before. AsyncClient is its twin.
    """

    def check_image(
        self,
        image: Image,
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Find the faces of one image and judge each.

        image: a path, encoded bytes (JPEG, PNG, WebP) or a (H, W, 3) uint8 RGB array, which is sent as PNG
        heatmap: also ask for each face's (14, 14) heatmap
        max_faces: judge only so many faces, the largest ones
        """
        options = self._request_options("interactive", priority, heatmap, max_faces)
        return self._check(image, options, self._call(timeout_s, headers))

    def check_images(
        self,
        images: Iterable[Image],
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[Verdict, None, None]:
        """Check many images, ``in_flight`` at a time, and yield one verdict for each, in order.

        An image that fails does not raise: its verdict carries the ``error``. ``images`` may be a generator without
        end, for it is pulled only as verdicts are taken. ``timeout_s`` holds for each image.
        """
        options = self._request_options("bulk", priority, heatmap, max_faces)
        self._call(timeout_s, headers)  # raises for a wrong timeout now, not with the first verdict

        def check(image: Image) -> Verdict:
            call = self._call(timeout_s, headers)
            try:
                return self._check(image, options, call)
            except FacewardenError as exc:
                return Verdict.failed(exc, image_path(image), call.elapsed_ms)

        return map_in_order(check, images, self._in_flight)

    def check_face(
        self,
        image: Image,
        roi: Roi = WHOLE_PICTURE,
        *,
        heatmap: bool = False,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> FaceVerdict:
        """Judge one face whose place is known, without looking for faces: the fast path.

        roi: x0, y0, x1, y1 as fractions of the upright picture, at least 8 pixels a side
        """
        call = self._call(timeout_s, headers)
        request = face_request(image_bytes(image), roi, self._request_options("interactive", priority, heatmap))
        return self._infer(request, call)

    def watch(
        self,
        frames: Source,
        *,
        heatmap: bool = False,
        drop: Drop | None = None,
        window: int = 4,
        fps: float | None = None,
        max_side_px: int | None = MAX_SIDE_PX,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Generator[FrameVerdict, None, None]:
        """Watch a stream and yield, in order, its running verdict after each frame.

        frames: a video, which is what PyAV opens (a file, rtsp://..., /dev/video0) and needs the extra ``video``; or
        images as they come: arrays, encoded bytes, paths
        heatmap: also ask for the (14, 14) heatmap of each frame's first face
        drop: None sends every frame; "oldest" is for live sources: where ``window`` frames wait for the server, the
        oldest of them is left out. Your own images are pulled ahead only with "oldest".
        fps: frames a second of your own images; None: each gets the time at which it comes
        max_side_px: larger frames are scaled down to it before they are sent; None: never
        timeout_s: the deadline of each frame

        Raises VideoError where a video cannot be read. A frame that fails does not raise: its verdict carries the
        ``error``. If the server forgets the stream or is restarted, the stream continues where the last answer left
        it. Leaving the loop ends the stream.
        """
        self._call(timeout_s, headers)
        session = Session(heatmap)
        source = timed_frames(frames, fps, max_side_px)
        ahead = reads_ahead(frames, drop, window, fps, max_side_px)
        reader = ReadAhead(source, window, drop == "oldest") if ahead else None
        try:
            with closing(reader.items() if reader else source) as items:
                for frame in items:
                    dropped = reader.dropped if reader else 0
                    yield self._watch(session, frame, dropped, self._call(timeout_s, headers))
        finally:
            if (end := session.end()) and not self._closed.is_set():
                with suppress(FacewardenError):  # a stream that is not ended is forgotten after a minute
                    self._infer(end, self._call(END_TIMEOUT_S, headers, retries=0))

    def ping(self, *, timeout_s: float | None = USE_CLIENT_DEFAULT, headers: Mapping[str, str] | None = None) -> float:
        """Ask whether the server lives, and return the latency in ms.

        There are few retries, so UnavailableError comes within a second where nothing listens.
        """
        call = self._call(timeout_s, headers, retries=2)
        self._send("is_server_live", call)
        return call.elapsed_ms

    def status(
        self, *, timeout_s: float | None = USE_CLIENT_DEFAULT, headers: Mapping[str, str] | None = None
    ) -> Status:
        """Look at the server: version, readiness, models, and a real inference through each model that clients call.

        Raises only where no server answers; the error of a model is in the status.
        """
        self.ping(timeout_s=timeout_s, headers=headers)

        def ask(method: str, *arguments: str) -> Any:
            return self._send(method, self._call(timeout_s, headers, retries=0), *arguments)

        def canary(request: Request[Any]) -> Canary:
            try:
                return to_canary(self._infer(request, self._call(timeout_s, headers, retries=0)))
            except FacewardenError as exc:
                return Canary(error=exc)

        metadata = ask("get_server_metadata")
        live, ready = ask("is_server_live"), ask("is_server_ready")
        loaded = loaded_models(ask("get_inference_statistics"))
        models = {model: bool(ask("is_model_ready", *model)) for model in loaded}
        canaries = {request.model_name: canary(request) for request in canary_requests()}
        return read_status(self.url, metadata, live, ready, models, canaries)

    def close(self) -> None:
        """End the connection; calls under way raise ClosedError."""
        self._closed.set()
        self._triton.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self) -> None:
        self._closed = threading.Event()
        self._triton = InferenceServerClient(**self._connection_arguments())

    def _check(self, image: Image, options: RequestOptions, call: Call) -> Verdict:
        return self._infer(image_request(image_bytes(image), options, image_path(image)), call)

    def _watch(self, session: Session, frame: Frame, dropped: int, call: Call) -> FrameVerdict:
        try:
            request = session.request(frame.number, frame.time_s, image_bytes(frame.image), dropped)
            return self._infer(request, call)
        except FacewardenError as exc:
            return session.failed(exc, frame.number, frame.time_s, call.elapsed_ms)

    def _infer(self, request: Request[T], call: Call) -> T:
        result = self._send("infer", call, retry_arguments=request.retry_arguments, **request.arguments())
        return request.read(result.as_numpy, call.elapsed_ms)

    def _send(
        self, method: str, call: Call, *args: Any, retry_arguments: Callable[[], Keywords] = dict, **keywords: Any
    ) -> Any:
        """Call tritonclient, and again where that is safe. All waiting for the server is here."""
        while not self._closed.is_set():
            try:
                send = getattr(self._triton, method)
                return send(*args, headers=call.metadata, client_timeout=call.left_s, **keywords)
            except InferenceServerException as exc:
                error = self._error(exc)
                if (pause_s := call.pause_s(error)) is None:
                    raise call.error_to_raise(error) from exc
            except ValueError as exc:
                if not self._closed.is_set():
                    raise
                raise self._closed_error() from exc  # gRPC: the channel was closed in between
            keywords |= retry_arguments()
            self._closed.wait(pause_s)
        raise self._closed_error()
