"""Measures the face detector: recall against YuNet, boxes on images without faces, time.

Reads pictures with a `manifest.csv` (columns path, source), YuNet as ONNX (libfacedetection.train, Apache-2.0) and
photographs without people (scikit-image's, and folders); writes `perf/results/face_detector.json` and `.md`.

    taskset -c 1 python -m perf.studies.face_detector --data FOLDER --yunet yunet_n_dynamic.onnx
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import skimage
from PIL import Image

from serving.faces.boxes import iou
from serving.faces.centerface import suppress
from serving.faces.detector import FaceDetector
from serving.settings import command_line

from .. import pages
from ..load.pictures import jpeg

NAME, RESULTS = "face_detector", pages.LATEST.parent
RECALL_BAR, FALSE_BOX_BAR, TIME_BAR_MS = 0.97, 0.02, 8.0
MATCH_IOU = 0.4  # two detectors draw the same face with an IoU of 0.8; 0.4 still tells neighbours apart
YUNET_FINDS = 0.9  # OpenCV's default: what YuNet finds
YUNET_GUESSES = 0.7  # blurred and tiny faces of the background as well
YUNET_ANY = 0.3  # anything that may be a face
YUNET_SIDE_PX = 1024
TIMED_RUNS = 300
SAVED_QUALITY = 95
MIN_BACKGROUND_PX = 96
WITH_PEOPLE = {"astronaut.png", "camera.png"}  # of scikit-image's bundled pictures


class YuNet:
    """The reference: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023."""

    STRIDES = (8, 16, 32)

    def __init__(self, path: Path) -> None:
        compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
        self.request = compiled.create_infer_request()

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) x0, y0, x1, y1 in pixels and their scores (N,), from YUNET_ANY up."""
        scale = min(1.0, YUNET_SIDE_PX / max(image.size))
        small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BOX)
        pixels = np.asarray(small)[..., ::-1].astype(np.float32)  # (H, W, 3) BGR 0..255
        pad = [(0, -side % self.STRIDES[-1]) for side in pixels.shape[:2]]
        padded = np.pad(pixels, [*pad, (0, 0)])
        self.request.infer([padded.transpose(2, 0, 1)[None]])
        found = [self._level(stride, padded.shape[1] // stride) for stride in self.STRIDES]
        box, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(-score)
        order = order[suppress(box[order], 0.3)]
        return box[order] / scale, score[order]

    def _level(self, stride: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
        maps = [self.request.get_tensor(f"{name}_{stride}").data[0] for name in ("cls", "obj", "bbox")]
        score = np.sqrt(np.clip(maps[0], 0, 1) * np.clip(maps[1], 0, 1))[:, 0]
        index = np.nonzero(score >= YUNET_ANY)[0]
        cell = np.stack([index % columns, index // columns], -1)
        centre = (cell + maps[2][index, :2]) * stride
        half = np.exp(maps[2][index, 2:]) * stride / 2
        return np.concatenate([centre - half, centre + half], -1), score[index]


@dataclass
class Tally:
    """Counts of one source."""

    pictures: int = 0
    with_face: int = 0  # pictures with at least one face
    largest_found: int = 0
    overlap: list[float] = field(default_factory=list)  # of each of YuNet's faces: best IoU,
    score: list[float] = field(default_factory=list)  # YuNet's score,
    width: list[float] = field(default_factory=list)  # and width, as a share of the picture's longer side

    def add(self, reference: np.ndarray, score: np.ndarray, box: np.ndarray, side_px: int) -> None:
        """One picture of that longer side: YuNet's boxes (N, 4) and scores (N,), our boxes (M, 4)."""
        overlap = iou(reference, box).max(-1, initial=0)
        self.pictures += 1
        self.overlap += overlap.tolist()
        self.score += score.tolist()
        self.width += ((reference[:, 2] - reference[:, 0]) / side_px).tolist()
        if len(reference):
            largest = (reference[:, 2:] - reference[:, :2]).prod(-1).argmax()
            self.with_face += 1
            self.largest_found += int(overlap[largest] >= MATCH_IOU)

    def row(self) -> dict[str, Any]:
        overlap, score, width = (np.array(values) for values in (self.overlap, self.score, self.width))
        found, sure = overlap >= MATCH_IOU, score >= YUNET_FINDS
        return {
            "pictures": self.pictures,
            "faces": int(sure.sum()),
            "recall": round(float(found[sure].mean()), 4),
            "faces_guessed": len(found),
            "recall_guessed": round(float(found.mean()), 4),
            "recall_largest": round(self.largest_found / max(1, self.with_face), 4),
            "median_iou": round(float(np.median(overlap[found])), 3),
            "median_width_missed": round(float(np.median(width[~found])), 3) if not found.all() else 0.0,
        }


@dataclass
class Faceless:
    """Counts of images without faces."""

    pictures: int = 0
    with_box: int = 0
    boxes: int = 0

    def add(self, boxes: int) -> None:
        self.pictures += 1
        self.boxes += boxes
        self.with_box += bool(boxes)


def background(image: Image.Image, box: np.ndarray) -> Image.Image | None:
    """The largest strip left, right, above or below of every face, well clear of it; None where all are small."""
    if not len(box):
        return None
    side = box[:, 2:] - box[:, :2]
    left, top = np.maximum((box[:, :2] - 0.4 * side).min(0), 0)
    right, bottom = np.minimum((box[:, 2:] + 0.4 * side).max(0), image.size)
    width, height = image.size
    strips = [(0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height)]
    x0, y0, x1, y1 = (int(value) for value in max(strips, key=lambda s: (s[2] - s[0]) * (s[3] - s[1])))
    return image.crop((x0, y0, x1, y1)) if min(x1 - x0, y1 - y0) >= MIN_BACKGROUND_PX else None


def compare(detector: FaceDetector, yunet: YuNet, data: Path) -> tuple[dict[str, Tally], Faceless]:
    """Recall per source over every picture of the manifest, and the tally of backgrounds cut from the same pictures."""
    with (data / "manifest.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    tallies: dict[str, Tally] = {}
    backgrounds = Faceless()
    for done, row in enumerate(rows):
        encoded = (data / row["path"]).read_bytes()
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        box, score = yunet(image)
        clear, found = score >= YUNET_GUESSES, detector.detect([encoded])[0].box
        tallies.setdefault(row["source"], Tally()).add(box[clear], score[clear], found, max(image.size))
        strip = background(image, box)
        if strip is not None and not len(yunet(strip)[0]):
            backgrounds.add(len(detector.detect([jpeg(strip, quality=SAVED_QUALITY)])[0].box))
        if done % 100 == 0:
            print(f"\r{done}/{len(rows)} pictures", end="", file=sys.stderr, flush=True)
    print(f"\r{len(rows)}/{len(rows)} pictures", file=sys.stderr)
    return tallies, backgrounds


def faceless_photos(folders: Sequence[Path]) -> Iterator[bytes]:
    """JPEG bytes of photographs without people."""
    bundled = Path(skimage.__file__).parent / "data"
    paths = [path for folder in (bundled, *folders) for path in sorted(folder.iterdir())]
    for path in paths:
        if path.suffix not in {".jpg", ".jpeg", ".png", ".webp"} or path.name in WITH_PEOPLE:
            continue
        with Image.open(path) as image:
            yield jpeg(image.convert("RGB"), quality=SAVED_QUALITY)


def time_ms(detector: FaceDetector) -> dict[str, float]:
    """Milliseconds for one 640x480 JPEG with one face, decoding included, on the cores this process may use."""
    astronaut = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB")
    encoded = jpeg(astronaut.resize((640, 640)).crop((0, 0, 640, 480)), quality=SAVED_QUALITY)
    wall, cpu = [], []
    for _ in range(TIMED_RUNS):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        detector.detect([encoded])
        wall.append((time.perf_counter() - begin) * 1e3)
        cpu.append((time.process_time() - cpu_begin) * 1e3)
    low, median, high = np.percentile(wall, [0, 50, 95])
    figures = {"min": low, "median": median, "p95": high, "cpu_median": np.median(cpu), "kib": len(encoded) / 1024}
    return {name: round(float(value), 2) for name, value in figures.items()}


def missed(report: dict[str, Any]) -> list[str]:
    """The bars that do not hold, in words."""
    recall = {source: row["recall"] for source, row in report["sources"].items()}
    failed = [f"recall on {source} is {share:.1%}" for source, share in recall.items() if share < RECALL_BAR]
    pictures = sum(row["pictures"] for row in report["without_faces"].values())
    share = sum(row["with_box"] for row in report["without_faces"].values()) / max(1, pictures)
    if share > FALSE_BOX_BAR:
        failed.append(f"{share:.1%} of the images without faces get a box")
    if report["time_ms"]["median"] > TIME_BAR_MS:
        failed.append(f"a 640x480 JPEG takes {report['time_ms']['median']} ms")
    return failed


def counts(detector: FaceDetector, data: Path, yunet: Path, faceless: Sequence[Path]) -> dict[str, Any]:
    """Recall by source, and boxes on images without faces."""
    photos = Faceless()
    for encoded in faceless_photos(faceless):
        photos.add(len(detector.detect([encoded])[0].box))
    tallies, backgrounds = compare(detector, YuNet(yunet), data)
    return {
        "sources": {source: tally.row() for source, tally in tallies.items()},
        "without_faces": {"photographs": asdict(photos), "backgrounds of the portraits": asdict(backgrounds)},
    }


def page(report: dict[str, Any]) -> str:
    """The report in Markdown."""
    took = report["time_ms"]
    sources = [
        (
            name,
            row["pictures"],
            row["faces"],
            f"{row['recall']:.2%}",
            row["faces_guessed"],
            f"{row['recall_guessed']:.2%}",
            f"{row['recall_largest']:.2%}",
            row["median_iou"],
            f"{row['median_width_missed']:.1%}",
        )
        for name, row in report["sources"].items()
    ]
    head = ("source", "pictures", "YuNet finds", "recall", "YuNet guesses", "recall", "largest", "IoU", "width missed")
    without = [(name, row["pictures"], row["with_box"], row["boxes"]) for name, row in report["without_faces"].items()]
    return f"""# Face detector: recall against YuNet, false boxes, time

A face is found where a box has an IoU of {MATCH_IOU} or more with YuNet's. YuNet finds faces from score {YUNET_FINDS},
OpenCV's default (bar: {RECALL_BAR:.0%} each), and guesses from {YUNET_GUESSES}. IoU and width (of the longer side) are
medians.

{pages.table(head, sources)}

{pages.table(("images without faces", "images", f"with a box (bar: {FALSE_BOX_BAR:.0%})", "boxes"), without)}

Backgrounds are strips beside faces: torsos, hands, clothes. YuNet sees nothing from score {YUNET_ANY} in them.

One 640x480 JPEG ({took["kib"]:.0f} KiB, one face), decoding included: median {took["median"]} ms, minimum
{took["min"]} ms, 95th percentile {took["p95"]} ms, CPU time {took["cpu_median"]} ms ({TIMED_RUNS} runs, bar
{TIME_BAR_MS:g} ms).

Bars that do not hold: {"; ".join(report["failed"]) or "none"}.
"""


def main(
    data: Path | None = None,
    yunet: Path | None = None,
    faceless: tuple[Path, ...] = (),
    out: Path = RESULTS,
    only_time: bool = False,
) -> int:
    """Measures the face detector. Exit code: 0 every bar holds, 1 one does not, 2 usage.

    Args:
        data: folder with manifest.csv.
        yunet: YuNet as ONNX, input of any size.
        faceless: folders of images without faces, beside scikit-image's.
        out: folder of the results.
        only_time: measure the time again and keep the last counts.
    """
    if not only_time and not (data and yunet):
        print("--data and --yunet are needed to measure recall", file=sys.stderr)
        return 2
    about, detector = pages.about("perf.studies.face_detector"), FaceDetector(threads=1)
    report: dict[str, Any] = {"time_ms": time_ms(detector)}
    if data and yunet and not only_time:
        report |= counts(detector, data, yunet, faceless)
    else:
        kept = json.loads((out / f"{NAME}.json").read_text())
        report |= {name: kept[name] for name in ("sources", "without_faces")}
    report["failed"] = missed(report)
    print(page(report))
    pages.write(out, NAME, page(report), about, **report)
    return int(bool(report["failed"]))


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.studies.face_detector"))
