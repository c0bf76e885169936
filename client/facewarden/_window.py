"""Many calls, at most ``window`` of them in flight, results in the order of the items; for threads and for asyncio.

Where the caller's iterable raises, the items before are answered first, and then its exception is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(function: Callable[[T], R], items: Iterable[T], window: int) -> Generator[R, None, None]:
    """Results of ``function``, called in ``window`` threads; ``items`` is pulled only as results are taken."""
    pool = ThreadPoolExecutor(window, "facewarden")
    pending: deque[Future[R]] = deque()
    failure: list[Exception] = []
    try:
        for item in _until_failure(items, failure):
            pending.append(pool.submit(function, item))
            while pending and (len(pending) >= window or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failure:
        raise failure[0]


async def map_in_order_async(
    function: Callable[[T], Coroutine[Any, Any, R]], items: Iterable[T] | AsyncIterable[T], window: int
) -> AsyncGenerator[R, None]:
    """``map_in_order`` with tasks; here ``items`` may be asynchronous."""
    pending: deque[asyncio.Task[R]] = deque()
    failure: list[Exception] = []
    try:
        async for item in _until_failure_async(items, failure):
            pending.append(asyncio.create_task(function(item)))
            while pending and (len(pending) >= window or pending[0].done()):
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
    if failure:
        raise failure[0]


def _until_failure(items: Iterable[T], failure: list[Exception]) -> Iterable[T]:
    try:
        yield from items
    except Exception as exc:
        failure.append(exc)


async def _until_failure_async(items: Iterable[T] | AsyncIterable[T], failure: list[Exception]) -> AsyncIterable[T]:
    try:
        if isinstance(items, AsyncIterable):
            async for item in items:
                yield item
        else:
            for item in items:
                yield item
    except Exception as exc:
        failure.append(exc)
