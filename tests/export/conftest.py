"""A data folder of one public-domain portrait, a small network, and a stage of export in this process."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageOps


class Told(NamedTuple):
    """What a stage said, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def export() -> Callable[..., Told]:
    """export(STAGE, ...) as `python -m export` does it, without the seconds that a process takes to import torch."""
    from export.__main__ import main

    def run(*arguments: object) -> Told:
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            try:
                code = main([str(argument) for argument in arguments])
            except SystemExit as exc:
                code = exc.code
        return Told(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Two threads that wait for each other take several times as long where other work is done beside."""
    import torch

    torch.set_num_threads(1)


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


@pytest.fixture(scope="session")
def faces(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list:
    """The faces of `data`."""
    from export.data.faces import find_faces

    return find_faces(data, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def net():
    """A small network of random weights, which happen to tell the real faces of `data` from its fakes."""
    import torch

    from export.network import FaceNet

    torch.manual_seed(2)
    return FaceNet("mobilenetv3_small_050", side_px=64).eval()


@pytest.fixture(scope="session")
def portrait_mesh(portrait: Image.Image) -> np.ndarray:
    """The 468 points of the portrait's face, in pixels."""
    from export.synthesis.landmarks import FaceMesh

    points = FaceMesh().landmarks(np.asarray(portrait), np.array([184, 64, 270, 176]))
    assert points is not None
    return points
