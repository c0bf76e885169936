"""What the detector is measured against: the floor that global statistics reach, and another graph on the same faces.

Sets that were made by different pipelines differ in colour, sharpness and file size. A model that is fitted on nothing
but those tells how much of a figure may come from the set and not from the forgery.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from serving.files import replacing
from serving.pictures import pipelines
from serving.pictures.crop import face_roi
from serving.pictures.pipeline_host import PipelineHost

from .pictures import LabelledPicture
from .served import JudgedPicture

BATCH = 32
KEPT = ("picture", "fake_probability")  # columns of a baseline's scores
FLOOR = {
    "global statistics, linear": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "global statistics, boosted trees": lambda: HistGradientBoostingClassifier(random_state=0),
}


class BaselineError(ValueError):
    """The baseline cannot be used; the message says what it should be."""


def statistics(data: bytes) -> np.ndarray:
    """(12,) mean and deviation of each colour and of saturation, sharpness, log file size, log width, log height."""
    with Image.open(io.BytesIO(data)) as image:
        rgb = np.asarray(image.convert("RGB"), np.float32) / 255  # (H, W, 3)
    gray, saturation = rgb.mean(-1), rgb.max(-1) - rgb.min(-1)
    laplacian = gray[1:-1, :-2] + gray[1:-1, 2:] + gray[:-2, 1:-1] + gray[2:, 1:-1] - 4 * gray[1:-1, 1:-1]
    sharpness = np.log(laplacian.var() + 1e-8) if laplacian.size else np.log(1e-8)
    sizes = np.log([len(data), rgb.shape[1], rgb.shape[0]])
    colours = [*rgb.mean((0, 1)), *rgb.std((0, 1)), saturation.mean(), saturation.std()]
    return np.array([*colours, sharpness, *sizes])


def fit_floors(data: Path, train: list[LabelledPicture]) -> dict[str, ClassifierMixin]:
    """Each model of FLOOR, fitted on `train`; none where that lacks a class."""
    train = [picture for picture in train if not picture.unreadable]
    labels = np.array([picture.label for picture in train])
    if len(np.unique(labels)) < 2:
        return {}
    known = _table(data, train, "statistics of train")
    return {name: model().fit(known, labels) for name, model in FLOOR.items()}


def floors(models: dict[str, ClassifierMixin], data: Path, pictures: list[LabelledPicture]) -> dict[str, np.ndarray]:
    """Scores (N,) of `pictures` by each fitted model."""
    asked = _table(data, pictures, "statistics") if models else None
    return {name: model.predict_proba(asked)[:, 1] for name, model in models.items()}


def _table(data: Path, pictures: list[LabelledPicture], title: str) -> np.ndarray:
    rows = tqdm(pictures, desc=title, unit="image", disable=None)
    return np.stack([_statistics_or_zero((data / picture.path).read_bytes()) for picture in rows])


def _statistics_or_zero(data: bytes) -> np.ndarray:
    try:
        return statistics(data)
    except OSError:  # a broken file of `train`
        return np.zeros(12)


def baseline(path: Path, data: Path, judged: Sequence[JudgedPicture]) -> np.ndarray:
    """Scores (N,) of another graph on the very faces that the server found, through the served crop.

    The graph takes FACE (B, 224, 224, 3) uint8 and answers FAKE_PROBABILITY (B, 1). A picture's score is that of its
    most suspicious face, as for the served model. A file that `write_scores` wrote stands for the graph. Raises
    BaselineError for anything else.
    """
    if path.suffix == ".csv":
        return _read_scores(path, judged)
    session = _session(path)
    host = PipelineHost(pipelines.preprocess, BATCH, threads=1)
    return np.array([_most_suspicious(session, host, data, j) for j in tqdm(judged, desc=path.name, disable=None)])


def write_scores(path: Path, scores: Mapping[str, float]) -> None:
    """A baseline's score of each picture as CSV, for later reports: the graph need not be kept for those."""
    with replacing(path) as draft, draft.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(KEPT)
        writer.writerows((name, f"{score:.7g}") for name, score in scores.items())


def _read_scores(path: Path, judged: Sequence[JudgedPicture]) -> np.ndarray:
    try:
        with path.open(newline="") as file:
            kept = {row[KEPT[0]]: float(row[KEPT[1]]) for row in csv.DictReader(file)}
    except (OSError, KeyError, TypeError, ValueError) as exc:  # TypeError: a row without a score
        raise BaselineError(
            f"{path} cannot be read as scores; give a CSV that an evaluation wrote for a graph"
        ) from exc
    missing = [j.picture.name for j in judged if j.picture.name not in kept]
    if missing:
        raise BaselineError(f"{path} has no score of {missing[0]} and {len(missing) - 1} more; give the graph itself")
    return np.array([kept[j.picture.name] for j in judged])


def _session(path: Path) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime has no base class of its own
        raise BaselineError(f"{path} cannot be read as an ONNX graph; give one that `export` wrote") from exc
    inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
    if inputs != ["FACE"] or "FAKE_PROBABILITY" not in outputs:
        raise BaselineError(f"{path} must take FACE and answer FAKE_PROBABILITY, not {inputs} and {outputs}")
    return session


def _most_suspicious(
    session: onnxruntime.InferenceSession, host: PipelineHost, data: Path, judged: JudgedPicture
) -> float:
    image = np.frombuffer((data / judged.picture.path).read_bytes(), np.uint8)
    height, width = judged.verdict.image_size
    rois = face_roi(np.array([face.box for face in judged.verdict.faces]), height, width)  # (F, 4)
    faces = np.stack(host.run(IMAGE=[image] * len(rois), ROI=list(rois)))  # (F, 224, 224, 3)
    return float(session.run(["FAKE_PROBABILITY"], {"FACE": faces})[0].max())
