"""Locust's users. Each asks once a task and tells Locust when the request was due."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import gevent
from geventhttpclient import HTTPClient
from locust import User, constant, task

from facewarden import Client, ImageError

from . import pictures
from .kserve import HEADER_BYTES, infer_body
from .schedule import Schedule

FOREVER_S = 3600.0


class AskingUser(User):
    """One request at a time: waits until it is due, asks, tells Locust the latency. Subclasses `ask`."""

    abstract = True
    wait_time = constant(0)
    schedule: Schedule
    what, size = "", 0  # of the request under way

    def on_start(self) -> None:
        self.load, self.shared = self.schedule.load, self.schedule.shared
        self.number = self.schedule.user_number()
        urls = self.schedule.target.urls
        self.url = urls[self.number % len(urls)]

    @task
    def go(self) -> None:
        """What Locust calls over and over."""
        self.one()

    def one(self) -> None:
        """One request of the schedule."""
        free_s = time.monotonic()
        due_s = self.schedule.take(free_s)
        if due_s is None:
            gevent.sleep(FOREVER_S)
            return
        gevent.sleep(max(0.0, due_s - free_s))
        delay_ms, failure = (time.monotonic() - max(due_s, free_s)) * 1e3, None
        try:
            self.ask()
        except Exception as exc:  # whatever it is, it is a failed request
            failure = exc
        self.tell(due_s, delay_ms, time.monotonic(), failure)

    def ask(self) -> None:
        """Sends a request and reads the answer; raises where it failed."""
        raise NotImplementedError

    def sending(self, what: str, data: bytes) -> bytes:
        """Notes which picture goes out, and hands it back."""
        self.what, self.size = what, len(data)
        return data

    def tell(self, due_s: float, delay_ms: float, answered_s: float, failure: Exception | None) -> None:
        """Locust's own event, in ms, with what it has no field for as context."""
        context: dict[str, Any] = {"due_s": due_s, "delay_ms": delay_ms, "what": self.what, "sent_bytes": self.size}
        self.environment.events.request.fire(
            request_type=self.schedule.target.kind,
            name=self.load.name,
            response_time=(answered_s - due_s) * 1e3,
            response_length=0,
            exception=failure,
            context=context,
        )


class ClientUser(AskingUser):
    """Asks by `facewarden.Client`, one for each server, shared by the users of a load; a failure is never retried."""

    abstract = True

    def on_start(self) -> None:
        super().on_start()
        if self.url not in self.shared:
            load = self.load
            self.shared[self.url] = Client(self.url, timeout_s=load.timeout_s, retries=0, priority=load.priority)
        self.client: Client = self.shared[self.url]


class FaceUser(ClientUser):
    """`deepfake_face`: a 256 px JPEG that is a face."""

    def ask(self) -> None:
        self.client.check_face(self.sending("face", pictures.face()))


class ImageUser(ClientUser):
    """`deepfake_image`: a 640x480 JPEG with one face; an answer without that face is a failure."""

    def ask(self) -> None:
        verdict = self.client.check_image(self.sending("photo", pictures.photo()))
        if len(verdict.faces) != 1:
            raise ValueError(f"{len(verdict.faces)} faces found on a photograph of one")


class MixedUser(ClientUser):
    """`deepfake_image` for a picture out of a table, in a seeded order, as an upload service gets them.

    A broken picture has to be refused; on a good one every face has to be found.
    """

    def ask(self) -> None:
        case = pictures.draw(self.shared.setdefault("order", random.Random(self.load.seed)))
        try:
            verdict = self.client.check_image(self.sending(case.name, case.data))
        except ImageError:
            if case.faces is not None:
                raise
        else:
            if len(verdict.faces) != case.faces:
                expected = "it should have been refused" if case.faces is None else f"{case.faces} are on it"
                raise ValueError(f"{case.name}: {len(verdict.faces)} faces found, {expected}")


class StreamUser(ClientUser):
    """A video interview: one stream of frames by the client's `watch`, each frame due at its time."""

    def one(self) -> None:
        """The whole stream; a frame that could not be sent in time is sent at once, and counts from when it was due."""
        schedule, due_s, delay_ms = self.schedule, [], []

        def frames() -> Iterator[bytes]:
            for number, frame in enumerate(pictures.frames()):
                due_s.append(schedule.frame_s(self.number, number))
                if due_s[-1] >= schedule.end_s:
                    return
                free_s = time.monotonic()
                gevent.sleep(max(0.0, due_s[-1] - free_s))
                delay_ms.append((time.monotonic() - max(due_s[-1], free_s)) * 1e3)
                yield self.sending("frame", frame)

        for verdict in self.client.watch(frames(), fps=self.load.rate):
            n = verdict.frame
            self.tell(due_s[n], delay_ms[n], time.monotonic(), verdict.error)
        gevent.sleep(FOREVER_S)


class PostUser(AskingUser):
    """The same pictures as the body of an HTTP POST, connections kept open; any status but 200 is a failure."""

    def on_start(self) -> None:
        super().on_start()
        timeout_s = self.load.timeout_s
        self.http = HTTPClient.from_url(
            self.url, concurrency=1, connection_timeout=timeout_s, network_timeout=timeout_s
        )
        self.path = "/" + self.url.split("://", 1)[1].partition("/")[2]
        self.picture = pictures.face() if self.load.ask == "face" else pictures.photo()
        self.body, self.headers = self.picture, {"Content-Type": "image/jpeg"}

    def ask(self) -> None:
        self.sending(self.load.ask, self.picture)
        answer = self.http.post(self.path, self.body, self.headers)
        content = answer.read()
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}: {content[:200].decode(errors='replace')}")


class InferUser(PostUser):
    """The same to `deepfake_face` over KServe's HTTP protocol; like a peer's, the request is made once."""

    def on_start(self) -> None:
        super().on_start()
        self.path = "/v2/models/deepfake_face/infer"
        self.body, header_bytes = infer_body(self.picture, self.load.priority)
        self.headers = {HEADER_BYTES: str(header_bytes)}


USERS: dict[tuple[str, str], type[AskingUser]] = {
    ("grpc", "face"): FaceUser,
    ("grpc", "image"): ImageUser,
    ("grpc", "mixed"): MixedUser,
    ("grpc", "stream"): StreamUser,
    ("kserve", "face"): InferUser,
    ("http", "face"): PostUser,
    ("http", "image"): PostUser,
}


def user_class(schedule: Schedule) -> type[AskingUser]:
    """The class of the users of one load, as many as it has in flight; ValueError where nobody can ask that."""
    kind = (schedule.target.kind, schedule.load.ask)
    if kind not in USERS:
        raise ValueError(f"load {schedule.load.name!r}: {kind[1]} cannot be asked over {kind[0]}")
    values = {"schedule": schedule, "fixed_count": schedule.load.in_flight}
    return type(f"{USERS[kind].__name__}_{schedule.load.name}", (USERS[kind],), values)
