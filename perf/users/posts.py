"""The same pictures to a server that takes them as the body of an HTTP POST, connections kept open."""

from __future__ import annotations

from geventhttpclient import HTTPClient

from .. import pictures
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
        self.body = pictures.face() if self.plan.load.ask == "face" else pictures.photo()

    def ask(self) -> None:
        answer = self.http.post(self.path, self.sending(self.plan.load.ask, self.body), {"Content-Type": "image/jpeg"})
        content = answer.read()
        if answer.status_code != 200:
            raise ValueError(f"HTTP {answer.status_code}: {content[:200].decode(errors='replace')}")
