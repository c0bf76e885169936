"""A source that is read ahead of its reader: frames are decoded and encoded while the server works on earlier ones.

At most ``window`` of them wait. A file waits for its reader; of a live source the oldest waiting frame is dropped.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Pulls ``source`` in a thread as soon as ``items()`` is read; what it raises comes after its last item."""

    def __init__(self, source: Iterator[T], window: int, drop: bool) -> None:
        self.dropped = 0
        self._source, self._window, self._drop = source, window, drop
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._failure: Exception | None = None

    def items(self) -> Generator[T, None, None]:
        """Every item in order, less those dropped; the reader closes it."""
        threading.Thread(target=self._pull, name="facewarden-read-ahead", daemon=True).start()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._items or self._ended)
                    if not self._items:
                        break
                    item = self._items.popleft()
                    self._changed.notify_all()
                yield item
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
        if self._failure:
            raise self._failure

    def _pull(self) -> None:
        try:
            for item in self._source:
                with self._changed:
                    if not self._drop:
                        self._changed.wait_for(lambda: len(self._items) < self._window or self._closed)
                    elif len(self._items) >= self._window:
                        self._items.popleft()
                        self.dropped += 1
                    if self._closed:
                        break
                    self._items.append(item)
                    self._changed.notify_all()
        except Exception as exc:
            self._failure = exc
        finally:
            if close := getattr(self._source, "close", None):
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()


class AsyncReadAhead(Generic[T]):
    """``ReadAhead`` with a task in the place of the thread."""

    def __init__(self, source: AsyncIterator[T], window: int, drop: bool) -> None:
        self.dropped = 0
        self._source, self._window, self._drop = source, window, drop
        self._items: deque[T] = deque()
        self._changed = asyncio.Condition()
        self._ended = False

    async def items(self) -> AsyncGenerator[T, None]:
        """Every item in order, less those dropped; the reader closes it."""
        task = asyncio.create_task(self._pull())
        try:
            while True:
                async with self._changed:
                    await self._changed.wait_for(lambda: self._items or task.done() or self._ended)
                    if not self._items:
                        break
                    item = self._items.popleft()
                    self._changed.notify_all()
                yield item
            await task  # raises what the source raised
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _pull(self) -> None:
        try:
            async for item in self._source:
                async with self._changed:
                    if not self._drop:
                        await self._changed.wait_for(lambda: len(self._items) < self._window)
                    elif len(self._items) >= self._window:
                        self._items.popleft()
                        self.dropped += 1
                    self._items.append(item)
                    self._changed.notify_all()
        finally:
            self._ended = True
            async with self._changed:
                self._changed.notify_all()
