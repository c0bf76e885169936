"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Any, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from ._base import CLIENTS, NOTHING_ELSE, BaseClient
from ._codec import WHOLE, Asked, Call, Priority, Roi, face_call, image_call
from ._errors import FacewardenError
from ._feed import AsyncFeed
from ._image import Image, image_bytes, image_path
from ._retry import Retry
from ._session import END_S, Session
from ._status import Canary, Status, canary_calls, canary_of, loaded, read_status
from ._stream import FrameVerdict
from ._verdict import FaceVerdict, Verdict, failed
from ._video import MAX_SIDE_PX, Drop, Frame, Source, ahead, timed_frames_async
from ._window import in_order_async

T = TypeVar("T")


class AsyncClient(BaseClient):
    """A connection to a Facewarden server, for the event loop that makes the first call. Client is its twin.

    Every call raises FacewardenError; its ``timeout_s`` and ``headers`` override and extend those of the client. A
    task that is cancelled cancels its call on the server.
    """

    async def check_image(
        self,
        image: Image,
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Find the faces of one image and judge each; see Client.check_image."""
        asked = self._asked("interactive", priority, heatmap, max_faces)
        return await self._check(image, asked, self._retry(timeout_s), headers)

    def check_images(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        heatmap: bool = False,
        max_faces: int | None = None,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Verdict, None]:
        """Check many images and yield one verdict for each, in order; see Client.check_images."""
        asked = self._asked("bulk", priority, heatmap, max_faces)
        self._retry(timeout_s)  # a wrong timeout is told now, not once for each image

        async def check(image: Image) -> Verdict:
            return await self._try(image, asked, self._retry(timeout_s), headers)

        return in_order_async(check, images, self._options.in_flight)

    async def check_face(
        self,
        image: Image,
        roi: Roi = WHOLE,
        *,
        heatmap: bool = False,
        priority: Priority | None = None,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> FaceVerdict:
        """Judge one face whose place is known; see Client.check_face."""
        retry = self._retry(timeout_s)
        call = face_call(await _image_bytes(image), roi, self._asked("interactive", priority, heatmap))
        return await self._infer(call, retry, headers)

    async def watch(
        self,
        frames: Source | AsyncIterable[Image],
        *,
        heatmap: bool = False,
        drop: Drop | None = None,
        window: int = 4,
        fps: float | None = None,
        max_side_px: int | None = MAX_SIDE_PX,
        timeout_s: float | None = CLIENTS,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[FrameVerdict, None]:
        """Watch a stream and yield, in order, its running verdict after each frame; see Client.watch."""
        self._retry(timeout_s)
        session = Session(heatmap)
        source = timed_frames_async(frames, fps, max_side_px)
        feed = AsyncFeed(source, window, drop == "oldest") if ahead(frames, drop, window, fps, max_side_px) else None
        try:
            async with aclosing(feed.items() if feed else source) as items:
                async for frame in items:
                    dropped = feed.dropped if feed else 0
                    yield await self._watch(session, frame, dropped, self._retry(timeout_s), headers)
        finally:
            if (end := session.end()) and not self._closed:
                with suppress(FacewardenError):
                    await self._infer(end, self._retry(END_S, retries=0), headers)

    async def ping(self, *, timeout_s: float | None = CLIENTS, headers: Mapping[str, str] | None = None) -> float:
        """Latency in ms of the smallest question, whether the server lives; see Client.ping."""
        retry = self._retry(timeout_s, retries=2)
        await self._send("is_server_live", retry, headers)
        return retry.elapsed_ms

    async def status(self, *, timeout_s: float | None = CLIENTS, headers: Mapping[str, str] | None = None) -> Status:
        """Look at the server; see Client.status."""
        await self.ping(timeout_s=timeout_s, headers=headers)

        async def ask(method: str, *arguments: str) -> Any:
            return await self._send(method, self._retry(timeout_s, retries=0), headers, *arguments)

        metadata, live, ready = (
            await ask("get_server_metadata"),
            await ask("is_server_live"),
            await ask("is_server_ready"),
        )
        found = loaded(await ask("get_inference_statistics"))
        models = {model: bool(await ask("is_model_ready", *model)) for model in found}
        calls = canary_calls()
        canaries = {c.model_name: await self._canary(c, self._retry(timeout_s, retries=0), headers) for c in calls}
        return read_status(self.url, metadata, live, ready, models, canaries)

    async def close(self) -> None:
        """End the connection; calls under way are cancelled."""
        self._closed = True
        if self._triton is not None:
            await self._triton.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> None:
        self._closed = False
        self._triton: Any = None  # made by the first call, for a channel belongs to the loop that makes it

    async def _check(self, image: Image, asked: Asked, retry: Retry, headers: Mapping[str, str] | None) -> Verdict:
        return await self._infer(image_call(await _image_bytes(image), asked, image_path(image)), retry, headers)

    async def _try(self, image: Image, asked: Asked, retry: Retry, headers: Mapping[str, str] | None) -> Verdict:
        try:
            return await self._check(image, asked, retry, headers)
        except FacewardenError as exc:
            return failed(exc, image_path(image), retry.elapsed_ms)

    async def _watch(
        self, session: Session, frame: Frame, dropped: int, retry: Retry, headers: Mapping[str, str] | None
    ) -> FrameVerdict:
        try:
            call = session.call(frame.number, frame.time_s, await _image_bytes(frame.image), dropped)
            return await self._infer(call, retry, headers)
        except FacewardenError as exc:
            return session.failed(exc, frame.number, frame.time_s, retry.elapsed_ms)

    async def _canary(self, call: Call[Any], retry: Retry, headers: Mapping[str, str] | None) -> Canary:
        try:
            return canary_of(await self._infer(call, retry, headers))
        except FacewardenError as exc:
            return Canary(error=exc)

    async def _infer(self, call: Call[T], retry: Retry, headers: Mapping[str, str] | None) -> T:
        result = await self._send("infer", retry, headers, again=call.again, **call.arguments)
        return call.read(result.as_numpy, retry.elapsed_ms)

    async def _send(
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
        while not self._closed:
            self._triton = self._triton or InferenceServerClient(**self._options.connection())
            try:
                call = getattr(self._triton, method)
                return await call(*args, headers=metadata, client_timeout=retry.left_s, **arguments)
            except InferenceServerException as exc:
                error = self._error(exc)
                if (pause_s := retry.pause_s(error)) is None:
                    raise retry.cause(error) from exc
            arguments |= again
            await asyncio.sleep(pause_s)
        raise self._closed_error()


async def _image_bytes(image: Image) -> bytes:
    """Files and arrays take a thread: reading and compressing would hold the loop up."""
    return image if isinstance(image, bytes) else await asyncio.to_thread(image_bytes, image)
