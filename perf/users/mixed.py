"""What really comes in: pictures of many sizes, several faces, none, and broken files, in a seeded order."""

from __future__ import annotations

import random

from facewarden import ImageError

from .. import pictures
from .faces import ClientUser


class MixedUser(ClientUser):
    """`deepfake_image` for a picture out of a table; a broken one has to be refused, on a good one every face found."""

    def on_start(self) -> None:
        super().on_start()
        if "order" not in self.plan.shared:
            self.plan.shared["order"] = random.Random(self.plan.load.seed)

    def ask(self) -> None:
        case = pictures.draw(self.plan.shared["order"])
        try:
            verdict = self.client.check_image(self.sending(case.name, case.data))
        except ImageError:
            if case.faces is not None:
                raise
        else:
            if len(verdict.faces) != case.faces:
                expected = "it should have been refused" if case.faces is None else f"{case.faces} are on it"
                raise ValueError(f"{case.name}: {len(verdict.faces)} faces found, {expected}")
