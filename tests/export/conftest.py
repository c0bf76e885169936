"""A data folder of one public-domain portrait, altered into a few photographs of each class."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory, portrait: Image.Image) -> Path:
    """manifest.csv with 8 real and 8 fake faces in three splits, one picture without a face and a broken file."""
    folder = tmp_path_factory.mktemp("data")
    views = {  # the splits must not share a picture
        "train": portrait,
        "val": ImageOps.mirror(portrait.crop((0, 0, 460, 512))),
        "test": portrait.rotate(20, Image.Resampling.BICUBIC, center=(230, 120)),
    }
    rows = []
    for i, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"] * 2):
        for label in ("real", "fake"):
            head = views[split].crop((110 - 3 * i, 0, 350 + 3 * i, 240 + 6 * i))
            pixels = np.asarray(head) if label == "real" else np.asarray(head)[..., ::-1]
            Image.fromarray(pixels).save(folder / f"{label}{i}.jpg", quality=90)
            rows.append((f"{label}{i}.jpg", label, f"{label}_source", split))
    Image.new("RGB", (64, 64)).save(folder / "nobody.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    rows += [("nobody.jpg", "real", "real_source", "train"), ("broken.jpg", "fake", "fake_source", "train")]
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "source", "split"), *rows])
    return folder


@pytest.fixture(scope="module")
def faces(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list:
    """The faces of `data`."""
    from export.data.faces import find_faces

    return find_faces(data, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def net():
    """A small network of random weights."""
    import torch

    from export.network import FaceNet

    torch.manual_seed(0)
    return FaceNet(side_px=64).eval()


@pytest.fixture(scope="session")
def portrait_mesh(portrait: Image.Image) -> np.ndarray:
    """The 468 points of the portrait's face, in pixels."""
    from export.synthesis.landmarks import FaceMesh

    points = FaceMesh().landmarks(np.asarray(portrait), np.array([184, 64, 270, 176]))
    assert points is not None
    return points
