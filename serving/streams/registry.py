"""The streams of one server, by correlation ID."""

from __future__ import annotations

import time

from .stream import Stream


class Streams:
    """Streams by correlation ID; those that nobody asked for during `idle_s` are forgotten at the next request of any.

    No thread of its own: the watchdog's canary, a stream of one frame, comes by every few seconds.
    """

    def __init__(self, idle_s: float) -> None:
        self.idle_s = idle_s
        self._streams: dict[str | int, tuple[float, Stream]] = {}  # those asked for last come last

    def get(self, key: str | int) -> Stream:
        """A stream that was started; KeyError for any other."""
        return self._streams[key][1]

    def put(self, key: str | int, stream: Stream) -> None:
        """Begin a stream, or begin it anew."""
        self._streams[key] = (time.monotonic(), stream)

    def answered(self, key: str | int, end: bool) -> int:
        """A request of this stream was answered, its last one with `end`; returns how many idle ones were forgotten."""
        _, stream = self._streams.pop(key, (0.0, None))
        if stream and not end:
            self.put(key, stream)
        oldest_s, before = time.monotonic() - self.idle_s, len(self._streams)
        while self._streams and next(iter(self._streams.values()))[0] < oldest_s:
            del self._streams[next(iter(self._streams))]
        return before - len(self._streams)

    def __len__(self) -> int:
        return len(self._streams)
