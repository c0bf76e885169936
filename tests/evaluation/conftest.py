"""Verdicts as the client gives them, for the pure parts, and a folder of pictures made of one portrait."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.evaluation.pictures import LabelledPicture
from export.evaluation.served import JudgedPicture
from facewarden import Face, ImageError, Quality, Threshold, Verdict

THRESHOLD = Threshold(0.3, 0.7)


@pytest.fixture(scope="session")
def judged() -> Callable[..., JudgedPicture]:
    """judged(label, p, path=..., source=..., group=..., clip=..., side_px=...); p None: no face, "broken": refused."""

    def make(label: int, p: float | str | None, side_px: float = 100.0, **settings: str) -> JudgedPicture:
        path = settings.pop("path", f"{label}-{p}.jpg")
        picture = LabelledPicture(path, label, **{"source": "camera", "split": "test", "group": path, **settings})
        if p == "broken":
            return JudgedPicture(picture, Verdict(None, None, error=ImageError("The image is truncated.")))
        if p is None:
            return JudgedPicture(picture, Verdict("no_face", None))
        face = Face((0, 0, 9, 9), 0.9, p, Quality(100.0, 0.5, side_px), THRESHOLD, 1, np.zeros((5, 2), np.float32))
        return JudgedPicture(picture, Verdict(face.label, p, (face,), THRESHOLD, 1, (10, 10)))

    return make


@pytest.fixture(scope="session")
def split(judged) -> list[JudgedPicture]:
    """40 genuine and 40 fake pictures with overlapping probabilities, one without a face, one refused."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(80):
        label = i % 2
        p = float(np.clip(rng.normal(0.3 + 0.4 * label, 0.2), 0.01, 0.99))
        source = ("phone", "generator")[label] if i < 60 else ("webcam", "swap")[label]
        rows.append(judged(label, p, path=f"{i}.jpg", source=source, side_px=50.0 + 5 * i))
    return [*rows, judged(0, None), judged(1, "broken")]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, portrait: Image.Image) -> Path:
    """real/ and fake/ with photographs and a video each, one picture without a face and a broken file."""
    from demo.media import write_video

    data = tmp_path_factory.mktemp("data")
    rows = ["path,label,source,split,group"]
    for label in ("real", "fake"):
        for i in range(6):
            head = np.asarray(portrait.crop((110 - 4 * i, 0, 350 + 4 * i, 240 + 8 * i)))
            pixels = head if label == "real" else np.ascontiguousarray(head[..., ::-1])
            Image.fromarray(pixels).save(data / f"{label}{i}.jpg", quality=90)
            rows.append(f"{label}{i}.jpg,{label},portrait,{'train' if i < 3 else 'test'},")
        write_video(data / f"{label}.mp4", [pixels], seconds=0.5)
        rows.append(f"{label}.mp4,{label},clip,test,")
    Image.new("RGB", (64, 64)).save(data / "nobody.jpg")
    (data / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (data / "broken.mp4").write_bytes(b"no video")
    rows += ["nobody.jpg,real,portrait,test,", "broken.jpg,fake,portrait,test,", "broken.mp4,fake,clip,test,"]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n")
    return data
