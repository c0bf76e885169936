"""A bounded number of calls in flight, answers in order; threads and asyncio alike."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from facewarden._window import map_in_order, map_in_order_async


def run_sync(function: Callable[[Any], Any], items: Iterable[Any], window: int) -> Iterator[Any]:
    return map_in_order(function, items, window)


def run_async(function: Callable[[Any], Any], items: Iterable[Any], window: int) -> Iterator[Any]:
    """Step an asyncio run from outside, so that one test serves both."""

    async def threaded(item: Any) -> Any:
        return await asyncio.to_thread(function, item)

    answers = map_in_order_async(threaded, items, window)
    loop = asyncio.new_event_loop()
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(answers))
            except StopAsyncIteration:
                return
    finally:
        loop.run_until_complete(answers.aclose())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


both = pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])


@both
def test_answers_come_map_in_order_however_long_each_takes(run: Any) -> None:
    rng = random.Random(3)
    delays_s = [rng.random() / 100 for _ in range(60)]

    def slow(item: int) -> int:
        time.sleep(delays_s[item])
        return item

    assert list(run(slow, range(60), 8)) == list(range(60))


@both
def test_no_more_than_the_window_is_in_flight(run: Any) -> None:
    lock, now, peak = threading.Lock(), [0], [0]

    def busy(item: int) -> int:
        with lock:
            now[0] += 1
            peak[0] = max(peak[0], now[0])
        time.sleep(0.005)
        with lock:
            now[0] -= 1
        return item

    assert len(list(run(busy, range(40), 4))) == 40
    assert 2 <= peak[0] <= 4


@both
def test_the_input_is_pulled_only_as_answers_are_taken(run: Any) -> None:
    pulled: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            pulled.append(len(pulled))
            yield pulled[-1]

    answers = run(lambda item: item, endless(), 5)
    assert [next(answers) for _ in range(10)] == list(range(10))
    assert len(pulled) <= 10 + 5
    answers.close()


@both
def test_what_was_pulled_is_answered_before_the_input_fails(run: Any) -> None:
    def breaking() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    answers = run(lambda item: item, breaking(), 8)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(answers)


@both
def test_nothing_in_nothing_out(run: Any) -> None:
    assert list(run(lambda item: item, [], 4)) == []


def test_async_input_may_be_asynchronous() -> None:
    async def main() -> list[int]:
        async def items() -> Any:
            for item in range(5):
                await asyncio.sleep(0)
                yield item

        async def double(item: int) -> int:
            return item * 2

        return [answer async for answer in map_in_order_async(double, items(), 2)]

    assert asyncio.run(main()) == [0, 2, 4, 6, 8]
