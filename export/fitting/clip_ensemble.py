"""The served student and CLIP -> `clip_ensemble.npz`: a layer, the weights of both, the thresholds.

It reads the faces as served, the served version of the classifier, and CLIP's image encoder, fetched and run as
`python -m serving clip-ensemble` does. It writes the constants into the folder of that version, and figures into
clip-ensemble-fit.json. The layer is fitted to the split train, as that of `probe`. How much each of the two counts,
temperature and thresholds come from val.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from reports import machine
from serving.classifier.clip_graph import ClipEnsemble, tokens_graph
from serving.classifier.runtimes import int8_session
from serving.clip_ensemble import CLIP, CONSTANTS
from serving.downloads import fetch
from serving.files import digest, replacing
from serving.paths import CACHE, REPOSITORY
from serving.supervisor.versions import newest

from ..conversion.verify import onnx_graph
from ..data.faces import TrainingFace, find_faces, of_split, real_of, require_both_classes
from ..data.sources import folder_of
from ..options import Data, Out
from ..publication.calibrate import calibrate, probabilities
from ..publication.scores import scored, summary
from ..synthesis.batches import Batch, Loader
from ..training.class_tokens import Altering, Finder, fitting_set, regression
from ..training.train import to_pixels

SERVED = newest(REPOSITORY / "classifier")


def token_finder(encoder: Path) -> Finder:
    """Class tokens by the encoder's graph in ONNX Runtime, face by face, as they are served."""
    with tempfile.TemporaryDirectory() as scratch:
        onnx.save(tokens_graph(onnx.load(encoder)), Path(scratch) / "tokens.onnx")
        session = int8_session(Path(scratch) / "tokens.onnx", threads=len(os.sched_getaffinity(0)))

    def find(pixels: Tensor) -> np.ndarray:
        faces = pixels.permute(0, 2, 3, 1).round().byte().numpy()
        return np.concatenate([session.run(["TOKENS"], {"FACE": face[None]})[0] for face in faces]).astype(np.float16)

    return find


def fit(
    find: Finder, features: np.ndarray, labels: np.ndarray, student: Path, faces: list[TrainingFace], folder: Path
) -> tuple[ClipEnsemble, dict]:
    """What both say together, and its figures: val, test, cross, and real faces of test with a self-blend of each.

    Args:
        features: (N, blocks x width) class tokens of the faces to fit the layer to; labels: (N,) share that is fake.
        student: the served graph.
        faces: of every split; val needs both classes.
    """
    weight, bias = regression(features, labels)
    student_graph = onnx_graph(student)

    def ask(batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
        """(N,) labels, and (N, 2) logits of the student and of the layer."""
        truth, both = [], []
        for batch in batches:
            truth.append(batch.labels)
            of_layer = find(to_pixels(batch)).astype(np.float32) @ weight + bias
            both.append(np.stack([student_graph(batch.faces)["LOGIT"][:, 0], of_layer], 1))
        return np.concatenate(truth), np.concatenate(both)

    loader = Loader(folder, 16, seed=0)
    tables = scored(ask, loader, faces)
    shares = _shares(tables["val"].labels, tables["val"].scores)
    _, blended = ask(loader.blended(real_of(of_split(faces, "val"))))
    calibration, report = calibrate(tables["val"].labels, tables["val"].scores @ shares, blended @ shares, version=0)
    of_student, of_layer = shares / calibration.temperature
    ensemble = ClipEnsemble(
        weight=(of_layer * weight).astype(np.float32),
        bias=float(of_layer * bias - calibration.bias / calibration.temperature),
        student=float(of_student),
        real_below=calibration.real_below,
        fake_from=calibration.fake_from,
        student_sha256=digest(student),
        encoder_sha256=CLIP.sha256,
    )
    figures = {"calibration": report, "shares": {"student": float(of_student), "layer": float(of_layer)}}
    for name, (truth, both, groups) in tables.items():
        figures[name] = summary(truth, probabilities(both @ shares, calibration), groups, calibration)
    return ensemble, figures


def _shares(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """(2,) weights of a logistic regression of the labels on both logits, each in units of its own spread."""
    spread = logits.std(0)
    return LogisticRegression().fit(logits / spread, labels).coef_[0] / spread


def describe(constants: Path) -> None:
    """Puts the file's hash into the manifest of its version, so that it is verified as the graphs are."""
    path = constants.with_name("manifest.json")
    if path.is_file():
        manifest = json.loads(path.read_text())
        manifest["files"][constants.name] = digest(constants)
        with replacing(path) as draft:
            draft.write_text(json.dumps(manifest, indent=2) + "\n")


def main(data: Data, out: Out, altering: Altering, ensemble: Path = SERVED / CONSTANTS) -> int:
    """Writes the constants, and clip-ensemble-fit.json into the run's folder.

    Args:
        ensemble: file to write.
    """
    faces, folder = find_faces(data, out), folder_of(data)
    require_both_classes(faces, ["train", "val"])
    find = token_finder(fetch(CLIP, CACHE / "weights"))
    network = f"{Path(CLIP.member).stem}.{CLIP.sha256[:12]}"
    features, labels = fitting_set(find, network, faces, of_split(faces, "train"), folder, out, altering)
    fitted, figures = fit(find, features, labels, SERVED / "model.onnx", faces, folder)
    fitted.save(ensemble)
    describe(ensemble)
    about = {"faces": len(labels), "commit": machine.commit(), "versions": machine.versions()}
    (out / "clip-ensemble-fit.json").write_text(json.dumps(figures | about, indent=2) + "\n")
    for name, row in figures.items():
        if "auc" in row:
            print(f"{name}: AUC {row['auc']:.3f}, accuracy {row['accuracy']:.3f}")
    print(f"{ensemble}; serve it with: make serve-clip")
    return 0
