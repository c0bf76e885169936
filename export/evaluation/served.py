"""Pictures -> what the served path says about them: detector, crop, classifier, thresholds, as a user gets it.

Every picture goes to `deepfake_image` through the project's client. Its score is the probability of its most suspicious
face, which is the rule of the product. A picture that the server refuses is kept with its error. A picture without a
face is kept as such. A server that does not answer ends the evaluation, because figures over a part would mislead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facewarden import Client, ImageError, Verdict
from serving.paths import CACHE
from serving.supervisor.options import Options
from serving.supervisor.server import Server

from .pictures import LabelledPicture

TIMEOUT_S = 120.0  # of one picture: an evaluation waits where a user would not
START_S = 600.0  # of the server, on a machine that trains at the same time


@dataclass(frozen=True)
class JudgedPicture:
    """A picture and the verdict about it; the verdict may be an error or hold no face."""

    picture: LabelledPicture
    verdict: Verdict

    @property
    def found(self) -> bool:
        """Whether a face was found and judged."""
        return bool(self.verdict.faces)


@dataclass(frozen=True)
class ScoreTable:
    """The judged pictures with a face as columns of one length N."""

    labels: np.ndarray  # (N,) int, 1 fake
    scores: np.ndarray  # (N,) probability of the most suspicious face
    groups: np.ndarray  # (N,) str
    sources: np.ndarray  # (N,) str
    clips: np.ndarray  # (N,) str, the video that a picture is a frame of, else ""
    quality: np.ndarray  # (N, 3) sharpness, brightness, side in px of the face that gave the score


def columns(judged: Iterable[JudgedPicture]) -> ScoreTable:
    """What has a face, as arrays."""
    rows = [j for j in judged if j.found]
    faces = [j.verdict.face for j in rows]
    quality = [[f.quality.sharpness, f.quality.brightness, f.quality.side_px] for f in faces]
    return ScoreTable(
        np.array([j.picture.label for j in rows], int),
        np.array([f.fake_probability for f in faces], float),
        np.array([j.picture.group for j in rows], str),
        np.array([j.picture.source for j in rows], str),
        np.array([j.picture.clip for j in rows], str),
        np.array(quality, float).reshape(-1, 3),
    )


@contextmanager
def connect(url: str | None, profile: str) -> Iterator[Client]:
    """A client of the server at `url`, or of one that is started here and stopped at the end."""
    if url:
        with Client(url, timeout_s=TIMEOUT_S) as client:
            yield client
        return
    log = CACHE / "logs" / "evaluate.log"
    options = Options(profile, grpc_port=0, http_port=0, metrics_port=0, log=log, ready_timeout_s=START_S)
    with Server(options) as server, Client(server.url, timeout_s=TIMEOUT_S) as client:
        yield client


def judge(client: Client, images: Iterable[bytes], total: int, title: str) -> list[Verdict]:
    """A verdict for each picture in order; raises FacewardenError where it is not the picture's fault."""
    verdicts = []
    for verdict in tqdm(client.check_images(images), desc=title, total=total, unit="image", disable=None):
        if verdict.error and not isinstance(verdict.error, ImageError):
            raise verdict.error
        verdicts.append(verdict)
    return verdicts


def judge_pictures(client: Client, data: Path, pictures: list[LabelledPicture], title: str) -> list[JudgedPicture]:
    """The files as they are, through the served path; what cannot be read is not sent and carries its error."""
    sent = [picture for picture in pictures if not picture.unreadable]
    answers = iter(judge(client, ((data / picture.path).read_bytes() for picture in sent), len(sent), title))
    broken = {p: Verdict.failed(ImageError(p.unreadable)) for p in pictures if p.unreadable}
    return [JudgedPicture(p, broken[p] if p in broken else next(answers)) for p in pictures]
