"""Video interviews: streams of frames through `deepfake_video`, each frame due at its time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import gevent

from .. import pictures
from .asking import FOREVER_S
from .faces import ClientUser


class StreamUser(ClientUser):
    """One stream by the client's `watch`."""

    def one(self) -> None:
        """The whole stream; a frame that could not be sent in time is sent at once, and counts from when it was due."""
        load, plan = self.plan.load, self.plan
        due_s: list[float] = []
        delay_ms: list[float] = []

        def frames() -> Iterator[bytes]:
            for number, frame in enumerate(pictures.frames()):
                due_s.append(plan.frame_s(self.number, number))
                if due_s[-1] >= plan.end_s:
                    return
                free_s = time.monotonic()
                gevent.sleep(max(0.0, due_s[-1] - free_s))
                delay_ms.append((time.monotonic() - max(due_s[-1], free_s)) * 1e3)
                yield self.sending("frame", frame)

        for verdict in self.client.watch(frames(), fps=load.rate):
            n = verdict.frame
            self.tell(due_s[n], delay_ms[n], time.monotonic(), verdict.error)
        gevent.sleep(FOREVER_S)
