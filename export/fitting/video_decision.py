"""The served classifier -> the constants of `deepfake_video`. Run it again whenever the classifier has changed.

`python -m export fit-video --data DATA`: two minutes. It reads DATA/manifest.csv and DATA/clips/{real,fake}/*.mp4 and
asks a server, which it starts. It writes model_repository/deepfake_video/1/calibration.json, which the model reads, and
export/results/video_decision.json, which `simulate-video` reads.

slope, offset: a logistic regression of the class on the logit over the split `val`, both classes weighted alike.
limit: the largest ratio of one frame, log of a tenth of the smaller class; beyond it fewer than ten pictures speak.
correlation_s: where the autocorrelation of a clip's scores falls to 1/e; the longest of the clips.
persistence: 1 - variance within clips / variance within classes, mean of the classes, but at least 0.2.
sharpness, brightness, side_px: what 99.5 % of the split exceeds. jitter: range of the clips, widened by half.
change_bound: the evidence for a swap that `alpha` of the real faces reach within ten seconds (simulated).
"""

from __future__ import annotations

import csv
import json
import math
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from facewarden import Client, Face
from serving.paths import CACHE
from serving.streams.events import Jitter
from serving.streams.sprt import Rates, ScoreCalibration
from serving.supervisor.options import Options
from serving.supervisor.server import Server

from ..options import Data
from .video_simulation import EVIDENCE, SERVED, ScoreQuantiles, swap_peaks

CLIP_FRAMES, FPS = 375, 25
DETECTION_STEP = 5  # frames between two detections at 25 fps
LEAST_PERSISTENCE = 0.2


def main(data: Data, url: str | None = None) -> int:
    """Fits the constants, writes and prints them.

    Args:
        url: a running server; one is started where it is not given.
    """
    with ExitStack() as stack:
        if url is None:
            log = CACHE / "logs" / "fit_video.log"
            url = stack.enter_context(Server(Options(grpc_port=0, http_port=0, metrics_port=0, log=log))).url
        client = stack.enter_context(Client(url, in_flight=6))
        faces = validation(client, data)
        clips = {kind: [clip(client, path) for path in (data / "clips" / kind).glob("*.mp4")] for kind in faces}
    constants, evidence = fit(faces, clips)
    SERVED.write_text(json.dumps(constants, indent=2) + "\n")
    EVIDENCE.write_text(json.dumps(evidence, indent=1) + "\n")
    print(json.dumps(constants, indent=2))
    return 0


def validation(client: Client, data: Path) -> dict[str, list[Face]]:
    """The most suspicious face of each picture of the split `val`, by label."""
    with open(data / "manifest.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    found: dict[str, list[Face]] = {"real": [], "fake": []}
    for row, verdict in zip(rows, client.check_images(str(data / row["path"]) for row in rows), strict=True):
        if verdict.face:
            found[row["label"]].append(verdict.face)
    return found


def clip(client: Client, path: Path) -> list[Face]:
    """The largest face of each of a clip's first frames."""
    from facewarden.video import timed_frames

    frames = (frame.image for frame in timed_frames(path) if frame.number < CLIP_FRAMES)
    return [verdict.faces[0] for verdict in client.check_images(frames) if verdict.faces]


def logits(faces: list[Face]) -> np.ndarray:
    """(N,) log odds, as far as FP32 tells them."""
    p = np.clip([face.fake_probability for face in faces], 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def fit(faces: dict[str, list[Face]], clips: dict[str, list[list[Face]]]) -> tuple[dict, dict]:
    """Constants for the model, and what they were made of."""
    by_class = {kind: logits(found) for kind, found in faces.items()}
    slope, offset = logistic(by_class["real"], by_class["fake"])
    limit = math.log(min(map(len, by_class.values())) / 10)

    def ratio(x: np.ndarray) -> np.ndarray:
        return np.clip(slope * x + offset, -limit, limit)

    within = {
        kind: float(np.mean([ratio(logits(found)).var() for found in clips[kind]]) / ratio(x).var())
        for kind, x in by_class.items()
    }
    correlation_s = max(forgetting_s(logits(found)) for many in clips.values() for found in many)
    persistence = max(LEAST_PERSISTENCE, 1 - min(1.0, float(np.mean(list(within.values())))))
    used = ScoreCalibration(slope, offset, limit, correlation_s, persistence)
    quantiles = {kind: np.quantile(x, np.linspace(0, 1, 101)).round(4).tolist() for kind, x in by_class.items()}
    scores, rates = ScoreQuantiles(*(np.array(quantiles[kind]) for kind in ("real", "fake"))), Rates()
    peaks = swap_peaks(scores, used, 5.0, 10.0, 4000, seed=7)
    change_bound = max(rates.fake_from, float(np.quantile(peaks, 1 - rates.alpha)))
    constants = {
        "model_version": faces["real"][0].model_version,
        **{name: round(value, 5) for name, value in vars(used).items()},
        "change_bound": math.ceil(1000 * change_bound) / 1000,  # up: clipped ratios make peaks of one height
        "jump": round(1.3 * limit, 3),
        **normal([face for found in faces.values() for face in found]),
        "jitter": jitter([found for many in clips.values() for found in many]),
    }
    sizes = {kind: len(x) for kind, x in by_class.items()}
    return constants, {"pictures": sizes, "variance_within_clips": within, "logit_quantiles": quantiles}


def logistic(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the log-likelihood ratio: a logistic regression, both classes weighted alike."""
    from sklearn.linear_model import LogisticRegression

    x, y = np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)])
    exact = {"C": np.inf, "solver": "newton-cholesky", "tol": 1e-10}
    fitted = LogisticRegression(class_weight="balanced", **exact).fit(x[:, None], y)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def forgetting_s(x: np.ndarray) -> float:
    """Seconds after which the autocorrelation is 1/e."""
    d = x - x.mean()
    lags = [float((d[:-lag] * d[lag:]).mean() / d.var()) for lag in range(1, len(d) // 4)]
    below = next(i for i, value in enumerate(lags) if value < 1 / math.e)
    return (below + 1) / FPS


def normal(faces: list[Face]) -> dict[str, float]:
    """What nearly every picture of the split exceeds."""
    looks = [vars(face.quality) for face in faces]
    names = ("sharpness", "brightness", "side_px")
    return {name: round(float(np.quantile([look[name] for look in looks], 0.005)), 3) for name in names}


def jitter(clips: list[list[Face]]) -> list[float]:
    """Lowest and highest running median of the landmarks' residual on the clips, widened by half."""
    found = []
    for faces in clips:
        watcher = Jitter()
        found += [r for face in faces[::DETECTION_STEP] if (r := watcher.add(face.landmark)) is not None]
    return [round(min(found) / 1.5, 4), round(max(found) * 1.5, 4)]
