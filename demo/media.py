"""The demo's pictures and its video, all made of one public-domain portrait."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from export.synthesis.self_blend import self_blend

PORTRAIT = Path(__file__).parent / "images" / "astronaut.jpg"  # NASA, public domain; 512x512
FRAMES_PER_SECOND = 10


def portrait() -> np.ndarray:
    """The genuine photograph, (512, 512, 3) uint8 RGB."""
    with Image.open(PORTRAIT) as image:
        return np.asarray(image.convert("RGB"))


def manipulated(image: np.ndarray, box: np.ndarray, seed: int = 0) -> np.ndarray:
    """The photograph with its face blended over from an altered copy, as a face swap leaves it."""
    return self_blend(image, box, np.random.default_rng(seed), ratio=1.0)


def write_video(path: Path, halves: list[np.ndarray], seconds: float = 2.6) -> None:
    """A slow zoom, H.264 in MP4, that shows each picture of `halves` for the same time."""
    frames = int(seconds * FRAMES_PER_SECOND)
    with av.open(str(path), "w") as container:
        options = {"crf": "20", "x264-params": "threads=1:asm=0"}  # else x264 gave other pixels in every run on a Xeon
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND), options=options)
        stream.width, stream.height, stream.pix_fmt = 480, 480, "yuv420p"
        for i in range(frames):
            picture = Image.fromarray(halves[i * len(halves) // frames])
            margin = 16 * i / frames
            zoomed = picture.resize(
                (480, 480), box=(margin, margin / 2, picture.width - margin, picture.height - 1.5 * margin)
            )
            container.mux(stream.encode(av.VideoFrame.from_image(zoomed)))
        container.mux(stream.encode())
