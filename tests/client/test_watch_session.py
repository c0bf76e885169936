"""The protocol of a stream without a server, and reading ahead: what a retry changes, what is dropped."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from facewarden import ImageError, UnavailableError
from facewarden._read_ahead import AsyncReadAhead, ReadAhead
from facewarden._session import Session

TRACK = {
    "track": 1, "label": "real", "fake_probability": 0.02, "subject": True, "frames": 3, "poor_frames": 0,
    "first_s": 0.0, "last_s": 0.2, "decided_s": 0.2, "decided_frames": 3,
}  # fmt: skip
FACE = {
    "track": 1, "box": [1.0, 2.0, 30.0, 40.0], "state": "real", "fake_probability": 0.02, "frame_probability": 0.1,
    "quality": {"sharpness": 100.0, "brightness": 0.5, "side_px": 50.0}, "poor": [],
}  # fmt: skip
SUMMARY = {
    "label": "real", "fake_probability": 0.02, "frames": 3, "frames_with_face": 3, "tracks": [TRACK], "events": {},
    "model_version": 1,
}  # fmt: skip
EVENT = {"event": "swap", "frame": 2, "time_s": 0.2, "track": 1, "before": "real", "after": "fake"}


def text(value: Any) -> Any:
    return np.array([[json.dumps(value).encode()]], np.object_)


@pytest.fixture
def tensors() -> Any:
    """An answer of ``deepfake_video``: the contract, written out."""
    return {
        "STATE": np.array([[1]], np.int32),
        "FAKE_PROBABILITY": np.array([[0.02]], np.float32),
        "EVENT": text([EVENT]),
        "DETAIL": text({"counted": True, "faces": [FACE], "summary": SUMMARY}),
        "RESUME": np.frombuffer(b"state", np.uint8)[None],
    }.get


def sent(request: Any) -> list[str]:
    return [tensor.name() for tensor in request.arguments()["inputs"]]


def starts_stream(request: Any) -> bool:
    return bool(request.arguments()["sequence_start"])


def test_the_first_frame_starts_the_stream_and_the_others_go_on(tensors: Any) -> None:
    session = Session()
    first = session.request(0, 0.0, b"jpeg")
    assert starts_stream(first) and sent(first) == ["IMAGE", "TIME", "FRAME"]
    first.read(tensors, 1.0)
    second = session.request(1, 0.04, b"jpeg")
    assert not starts_stream(second) and sent(second) == ["IMAGE", "TIME", "FRAME"]
    assert second.arguments()["sequence_id"] == first.arguments()["sequence_id"]


def test_a_retry_starts_anew_from_the_last_answer(tensors: Any) -> None:
    session = Session()
    first = session.request(0, 0.0, b"x")
    assert first.retry_arguments() == {} and starts_stream(first), "a retry sends the same again"
    first.read(tensors, 1.0)
    retried = session.request(1, 0.04, b"jpeg").retry_arguments()
    assert retried["sequence_start"] and retried["sequence_id"] == first.arguments()["sequence_id"]
    assert [tensor.name() for tensor in retried["inputs"]] == ["IMAGE", "TIME", "FRAME", "RESUME"]


@pytest.mark.parametrize(("error", "starts"), [(ImageError("Bad."), False), (UnavailableError("Gone."), True)])
def test_after_a_lost_answer_the_next_frame_starts_anew(tensors: Any, error: Any, starts: bool) -> None:
    session = Session()
    session.request(0, 0.0, b"jpeg").read(tensors, 1.0)
    verdict = session.failed(error, 1, 0.04, 5.0)
    assert (verdict.label, verdict.so_far.failed, verdict.error) == ("real", 1, error)
    assert starts_stream(session.request(2, 0.08, b"jpeg")) == starts


def test_a_state_that_the_server_refuses_is_given_up(tensors: Any) -> None:
    session = Session()
    session.request(0, 0.0, b"jpeg").read(tensors, 1.0)
    session.failed(UnavailableError("Gone."), 1, 0.04, 5.0)
    assert sent(session.request(2, 0.08, b"jpeg")) == ["IMAGE", "TIME", "FRAME", "RESUME"]
    session.failed(ImageError("RESUME is not what this server gave out: other fields."), 2, 0.08, 5.0)
    anew = session.request(3, 0.12, b"jpeg")
    assert starts_stream(anew) and sent(anew) == ["IMAGE", "TIME", "FRAME"]


def test_an_answer_becomes_a_verdict(tensors: Any) -> None:
    verdict = Session().request(2, 0.2, b"jpeg", dropped=4).read(tensors, 12.0)
    assert (verdict.label, verdict.fake_probability, verdict.image) == ("real", pytest.approx(0.02), b"jpeg")
    assert (verdict.faces[0].box, verdict.faces[0].frame_probability) == ((1.0, 2.0, 30.0, 40.0), 0.1)
    assert (verdict.events[0].event, verdict.events[0].evidence) == ("swap", {"before": "real", "after": "fake"})
    assert (verdict.so_far.frames, verdict.so_far.dropped, verdict.so_far.tracks[0].decided_frames) == (3, 4, 3)
    line = json.loads(json.dumps(verdict.to_json()))
    assert (line["type"], line["frame"], line["faces"][0]["track"], line["error"]) == ("frame", 2, 1, None)
    assert json.loads(json.dumps(verdict.so_far.to_json()))["type"] == "summary"


def test_a_stream_that_no_frame_began_needs_no_end(tensors: Any) -> None:
    session = Session()
    assert session.end() is None
    session.request(0, 0.0, b"jpeg").read(tensors, 1.0)
    end = session.end()
    assert end is not None and end.arguments()["sequence_end"] and not starts_stream(end)


class Source:
    """Numbers that come when told to, and a record of what was done with it."""

    def __init__(self, count: int) -> None:
        self.go, self.count, self.pulled, self.closed = threading.Semaphore(0), count, 0, threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for i in range(self.count):
                self.go.acquire()
                self.pulled = i + 1
                yield i
        finally:
            self.closed.set()


def test_a_file_waits_for_its_reader_and_nothing_is_lost() -> None:
    assert list(ReadAhead(iter(range(50)), 3, drop=False).items()) == list(range(50))


def test_of_a_live_source_the_oldest_is_dropped() -> None:
    source = Source(10)
    reader = ReadAhead(iter(source), 2, drop=True)
    items = reader.items()
    source.go.release()
    assert next(items) == 0
    source.go.release(9)
    assert source.closed.wait(10)
    assert list(items) == [8, 9] and reader.dropped == 7


def test_leaving_ends_the_source() -> None:
    source = Source(1000)
    source.go.release(1000)
    items = ReadAhead(iter(source), 2, drop=False).items()
    assert next(items) == 0
    items.close()
    assert source.closed.wait(10) and source.pulled < 10


def test_what_the_source_raises_comes_after_its_last_item() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    items = ReadAhead(broken(), 2, drop=False).items()
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)


def test_the_asynchronous_twin_does_the_same() -> None:
    async def count(n: int, broken: bool = False) -> AsyncIterator[int]:
        for i in range(n):
            yield i
        if broken:
            raise ValueError("broken")

    async def main() -> None:
        assert [i async for i in AsyncReadAhead(count(20), 3, drop=False).items()] == list(range(20))
        reader = AsyncReadAhead(count(10), 2, drop=True)
        items = reader.items()
        first = await anext(items)
        rest = [i async for i in items]
        assert first + 1 + len(rest) + reader.dropped - first == 10 and rest[-1] == 9
        with pytest.raises(ValueError, match="broken"):
            [i async for i in AsyncReadAhead(count(3, broken=True), 2, drop=False).items()]
        items = AsyncReadAhead(count(1000), 2, drop=False).items()
        assert await anext(items) == 0
        await items.aclose()

    asyncio.run(main())
