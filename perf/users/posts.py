"""The same pictures to a server that takes them as the body of an HTTP POST, connections kept open."""

from __future__ import annotations

from geventhttpclient import HTTPClient

from .. import pictures
from ..kserve import HEADER_BYTES, infer_body
from .asking import AskingUser


class PostUser(AskingUser):
    """POST of the JPEG's bytes; any status but 200 is a failure."""

    def on_start(self) -> None:
        super().on_start()
        timeout_s = self.plan.load.timeout_s
        self.http = HTTPClient.from_url(
            self.url, concurrency=1, connection_timeout=timeout_s, network_timeout=timeout_s
        )
        self.path = "/" + self.url.split("://", 1)[1].partition("/")[2]
        self.picture = pictures.face() if self.plan.load.ask == "face" else pictures.photo()
        self.body, self.headers = self.picture, {"Content-Type": "image/jpeg"}

    def ask(self) -> None:
        self.sending(self.plan.load.ask, self.picture)
        answer = self.http.post(self.path, self.body, self.headers)
        content = answer.read()
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}: {content[:200].decode(errors='replace')}")


class InferUser(PostUser):
    """The same to `deepfake_face` over KServe's HTTP protocol; like a peer's, the request is made once."""

    def on_start(self) -> None:
        super().on_start()
        self.path = "/v2/models/deepfake_face/infer"
        self.body, header_bytes = infer_body(self.picture, self.plan.load.priority)
        self.headers = {HEADER_BYTES: str(header_bytes)}
