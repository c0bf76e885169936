"""One face, or one photograph with a face, over and over: the project's client over gRPC."""

from __future__ import annotations

from facewarden import Client

from .. import pictures
from .asking import AskingUser


class ClientUser(AskingUser):
    """Asks by `facewarden.Client`, one for each server, shared by the users of a load; a failure is never retried."""

    abstract = True

    def on_start(self) -> None:
        super().on_start()
        load = self.plan.load
        if self.url not in self.plan.shared:
            self.plan.shared[self.url] = Client(self.url, timeout_s=load.timeout_s, retries=0, priority=load.priority)
        self.client: Client = self.plan.shared[self.url]


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
