"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any, TypeAlias, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ._base import USE_CLIENT_DEFAULT, BaseClient
from ._call import Call
from ._errors import FacewardenError
from ._image import Image, image_bytes, image_path
from ._read_ahead import AsyncReadAhead
from ._session import END_TIMEOUT_S, Session
from ._status import Canary, Status, canary_requests, loaded_models, read_status, to_canary
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict
from ._window import map_in_order_async
from .video import MAX_SIDE_PX, Drop, Frame, Source, reads_ahead, timed_frames_async
from .wire import WHOLE_PICTURE, Priority, Request, RequestOptions, Roi, face_request, image_request

T = TypeVar("T")
Keywords: TypeAlias = dict[str, Any]


class AsyncClient(BaseClient):
    """A connection to a Facewarden server, for the event loop that makes the first call. Client is its twin.

    Every call may raise FacewardenError. Its ``timeout_s`` replaces the client's, its ``headers`` are added to them. A
    task that is cancelled cancels its call on the server.
    """

    async def check_image(
        self,
        image: Image,
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Find the faces of one image and judge each; see Client.check_image."""
        options = self._request_options("interactive", priority, heatmap, max_faces)
        return await self._check(image, options, self._call(timeout_s, headers))

    def check_images(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Verdict, None]:
        """Check many images and yield one verdict for each, in order; see Client.check_images."""
        options = self._request_options("bulk", priority, heatmap, max_faces)
        self._call(timeout_s, headers)  # raises for a wrong timeout now, not with the first verdict

        async def check(image: Image) -> Verdict:
            call = self._call(timeout_s, headers)
            try:
                return await self._check(image, options, call)
            except FacewardenError as exc:
                return Verdict.failed(exc, image_path(image), call.elapsed_ms)

        return map_in_order_async(check, images, self._in_flight)

    async def check_face(
        self,
        image: Image,
        roi: Roi = WHOLE_PICTURE,
        *,
        heatmap: bool = False,
        priority: Priority | None = None,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> FaceVerdict:
        """Judge one face whose place is known; see Client.check_face."""
        call = self._call(timeout_s, headers)
        request = face_request(await _image_bytes(image), roi, self._request_options("interactive", priority, heatmap))
        return await self._infer(request, call)

    async def watch(
        self,
        frames: Source | AsyncIterable[Image],
        *,
        heatmap: bool = False,
        drop: Drop | None = None,
        window: int = 4,
        fps: float | None = None,
        max_side_px: int | None = MAX_SIDE_PX,
        timeout_s: float | None = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[FrameVerdict, None]:
        """Watch a stream and yield, in order, its running verdict after each frame; see Client.watch."""
        self._call(timeout_s, headers)
        session = Session(heatmap)
        source = timed_frames_async(frames, fps, max_side_px)
        ahead = reads_ahead(frames, drop, window, fps, max_side_px)
        reader = AsyncReadAhead(source, window, drop == "oldest") if ahead else None
        try:
            async with aclosing(reader.items() if reader else source) as items:
                async for frame in items:
                    dropped = reader.dropped if reader else 0
                    yield await self._watch(session, frame, dropped, self._call(timeout_s, headers))
        finally:
            if (end := session.end()) and not self._closed:
                with suppress(FacewardenError):
                    await self._infer(end, self._call(END_TIMEOUT_S, headers, retries=0))

    async def ping(
        self, *, timeout_s: float | None = USE_CLIENT_DEFAULT, headers: Mapping[str, str] | None = None
    ) -> float:
        """Ask whether the server lives, and return the latency in ms; see Client.ping."""
        call = self._call(timeout_s, headers, retries=2)
        await self._send("is_server_live", call)
        return call.elapsed_ms

    async def status(
        self, *, timeout_s: float | None = USE_CLIENT_DEFAULT, headers: Mapping[str, str] | None = None
    ) -> Status:
        """Look at the server; see Client.status."""
        await self.ping(timeout_s=timeout_s, headers=headers)

        async def ask(method: str, *arguments: str) -> Any:
            return await self._send(method, self._call(timeout_s, headers, retries=0), *arguments)

        async def canary(request: Request[Any]) -> Canary:
            try:
                return to_canary(await self._infer(request, self._call(timeout_s, headers, retries=0)))
            except FacewardenError as exc:
                return Canary(error=exc)

        metadata = await ask("get_server_metadata")
        live, ready = await ask("is_server_live"), await ask("is_server_ready")
        loaded = loaded_models(await ask("get_inference_statistics"))
        models = {model: bool(await ask("is_model_ready", *model)) for model in loaded}
        canaries = {request.model_name: await canary(request) for request in canary_requests()}
        return read_status(self.url, metadata, live, ready, models, canaries)

    async def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        self._closed = True
        if self._triton is not None:
            await self._triton.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def _open(self) -> None:
        self._closed = False
        self._triton: Any = None  # the first call makes it, for a channel belongs to the loop that made it

    async def _check(self, image: Image, options: RequestOptions, call: Call) -> Verdict:
        return await self._infer(image_request(await _image_bytes(image), options, image_path(image)), call)

    async def _watch(self, session: Session, frame: Frame, dropped: int, call: Call) -> FrameVerdict:
        try:
            request = session.request(frame.number, frame.time_s, await _image_bytes(frame.image), dropped)
            return await self._infer(request, call)
        except FacewardenError as exc:
            return session.failed(exc, frame.number, frame.time_s, call.elapsed_ms)

    async def _infer(self, request: Request[T], call: Call) -> T:
        result = await self._send("infer", call, retry_arguments=request.retry_arguments, **request.arguments())
        return request.read(result.as_numpy, call.elapsed_ms)

    async def _send(
        self, method: str, call: Call, *args: Any, retry_arguments: Callable[[], Keywords] = dict, **keywords: Any
    ) -> Any:
        """Call tritonclient, and again where that is safe. All waiting for the server is here."""
        while not self._closed:
            self._triton = self._triton or InferenceServerClient(**self._connection_arguments())
            try:
                send = getattr(self._triton, method)
                return await send(*args, headers=call.metadata, client_timeout=call.left_s, **keywords)
            except InferenceServerException as exc:
                error = self._error(exc)
                if (pause_s := call.pause_s(error)) is None:
                    raise call.error_to_raise(error) from exc
            keywords |= retry_arguments()
            await asyncio.sleep(pause_s)
        raise self._closed_error()


async def _image_bytes(image: Image) -> bytes:
    """Files and arrays are read and compressed in a thread, for that would block the loop."""
    return image if isinstance(image, bytes) else await asyncio.to_thread(image_bytes, image)
