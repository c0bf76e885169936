"""Streams of frames: who is on them, what each frame adds, answered frame by frame; many streams share every batch.

State lives here, by correlation ID. Triton forgets an idle stream without a word, so this model has a clock of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from facewarden.wire import STATES
from serving.pictures.check import ImageError, ImageInfo, check_image, undecoded
from serving.pictures.crop import face_roi
from serving.streams import answer
from serving.streams.look import Look, look_at
from serving.streams.people import DecisionSettings
from serving.streams.registry import Streams
from serving.streams.sprt import Rates, ScoreCalibration
from serving.streams.stream import LookLimits, Score, Stream

from .calls import infer
from .config import Config
from .errors import failed
from .tensors import input_array, output, text_output

JUDGED = ["LOGIT", "QUALITY", "MODEL_VERSION"]
FOUND = ["BOX", "CONFIDENCE", "LANDMARK", "IMAGE_SIZE"]


class TritonPythonModel:
    """IMAGE (1, L), TIME (1, 1), FRAME (1, 1), optional RESUME (1, L) -> the running verdict; see config.pbtxt."""

    def initialize(self, args: dict[str, str]) -> None:
        config = Config(args)
        kept = json.loads(Path(args["model_repository"], args["model_version"], "calibration.json").read_text())
        rates = Rates(float(config.parameter("alpha", "0.03")), float(config.parameter("beta", "0.02")))
        defaults = {"review_after_s": 10} | {name: kept[name] for name in ("change_bound", "jump")}
        given = {name: float(config.parameter(name, str(value))) for name, value in defaults.items()}
        self.settings = DecisionSettings(rates, ScoreCalibration(**part(kept, ScoreCalibration)), **given)
        self.limits = LookLimits(**part(kept, LookLimits))
        self.calibrated_version = kept["model_version"]
        self.model_version: int | None = None  # of the classifier, once it has answered
        self.faces = int(config.parameter("faces", "4"))
        self.detect_every_s = float(config.parameter("detect_every_s", "0.2"))
        self.image_limits = config.limits()
        self.streams = Streams(float(config.parameter("idle_s", "65")))

    async def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return await asyncio.gather(*(self.answer(request) for request in requests))

    async def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        key, flags = request.correlation_id(), request.flags()
        try:
            stream = self.stream(request, key, bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START))
            counted, heatmap = await self.frame(request, stream)
            return self.response(request, stream, counted, heatmap)
        except Exception as exc:  # left alone, its traceback with the server's paths would reach the caller
            return failed(exc)
        finally:
            forgotten = self.streams.answered(key, bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END))
            if forgotten:
                pb_utils.Logger.log_info(f"idle streams forgotten: {forgotten}, kept: {len(self.streams)}")

    def stream(self, request: pb_utils.InferenceRequest, key: str | int, start: bool) -> Stream:
        """The request's stream; a start makes a new one, or the one that RESUME describes."""
        if not start:
            try:
                return self.streams.get(key)
            except KeyError:
                sentence = "this stream is not known here; it must specify the START flag on its next request"
                raise ImageError(sentence) from None
        stream = Stream(self.settings, self.limits, self.faces, self.detect_every_s)
        if pb_utils.get_input_tensor_by_name(request, "RESUME") is not None:
            try:
                answer.restore(stream, input_array(request, "RESUME").tobytes())
            except ValueError as exc:
                raise ImageError(f"RESUME is not what this server gave out: {exc}") from None
        self.streams.put(key, stream)
        return stream

    async def frame(self, request: pb_utils.InferenceRequest, stream: Stream) -> tuple[bool, np.ndarray | None]:
        """Count the request's frame if it is new; whether it was counted, and the subject's heat map if asked for."""
        frame, time_s = int(input_array(request, "FRAME")[0, 0]), float(input_array(request, "TIME")[0, 0])
        if frame <= stream.last_frame:
            return False, None
        if not np.isfinite(time_s):
            raise ImageError("TIME is no finite number; give seconds since the stream began")
        image = input_array(request, "IMAGE")[0]
        data = image.tobytes()
        info = check_image(data, self.image_limits)
        look = see(data, info)
        await self.place(request, stream, look, time_s)
        visible = stream.tracker.visible
        rois = face_roi(np.array([t.box for t in visible]).reshape(-1, 4) * size(info)[[1, 0, 1, 0]], *size(info))
        wanted = JUDGED + ["HEATMAP"] * ("HEATMAP" in request.requested_output_names())
        verdicts = await asyncio.gather(*(judge(image, roi, wanted) for roi in rois))
        sides = (rois[:, 2] - rois[:, 0]) * info.width
        scores = {t.id: score(v, s) for t, v, s in zip(visible, verdicts, sides, strict=True)}
        if verdicts:
            self.judged_by(verdicts[0]["MODEL_VERSION"].item())
        stream.count(frame, time_s, look, (info.height, info.width), scores)
        return True, verdicts[0].get("HEATMAP") if verdicts else None

    def judged_by(self, version: int) -> None:
        """Notes the classifier's version, and warns once where it is not the one that was calibrated."""
        if version not in (self.model_version, self.calibrated_version):
            pb_utils.Logger.log_warn(
                f"the classifier's version {version} judges, and calibration.json is of version "
                f"{self.calibrated_version}: error rates of streams do not hold; see docs/video.md"
            )
        self.model_version = version

    async def place(self, request: pb_utils.InferenceRequest, stream: Stream, look: Look, time_s: float) -> None:
        """Faces of this frame: the known ones followed, or all of them found."""
        if not stream.detection_due(time_s) and stream.follow(look, time_s):
            return
        found = await infer("face_detector", FOUND, {"IMAGE": input_array(request, "IMAGE")[0]})
        scale = 1 / found["IMAGE_SIZE"][[1, 0]]
        box, landmark = found["BOX"] * np.tile(scale, 2), found["LANDMARK"] * scale
        stream.detected(box, found["CONFIDENCE"], landmark, time_s)

    def response(
        self, request: pb_utils.InferenceRequest, stream: Stream, counted: bool, heatmap: np.ndarray | None
    ) -> pb_utils.InferenceResponse:
        """What the request asked for."""
        subject, state = stream.tracker.subject, answer.state(stream)
        whose = subject.id if subject else stream.subject_id
        person = None if whose is None else stream.people.get(whose)
        height, width = stream.picture
        box = subject.box * [width, height, width, height] if subject else np.zeros(4)
        events = stream.fresh if counted else []
        made: dict[str, Callable[[], np.ndarray]] = {
            "STATE": lambda: np.array([[STATES.index(state)]], np.int32),
            "FAKE_PROBABILITY": lambda: np.array([[answer.probability(stream, person)]], np.float32),
            "TRACK": lambda: np.array([[subject.id if subject else -1]], np.int32),
            "BOX": lambda: box[None].astype(np.float32),
            "HEATMAP": lambda: np.zeros((1, 14, 14), np.float32) if heatmap is None else heatmap,
            "RESUME": lambda: np.frombuffer(answer.resume(stream), np.uint8)[None],
        }
        texts: dict[str, Callable[[], Any]] = {
            "EVENT": lambda: events,
            "DETAIL": lambda: answer.detail(stream, counted, self.model_version),
        }
        wanted = request.requested_output_names()
        tensors = [output(name, make()) for name, make in made.items() if name in wanted]
        tensors += [text_output(name, json.dumps(make())) for name, make in texts.items() if name in wanted]
        return pb_utils.InferenceResponse(tensors)


def part(kept: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Those of the kept constants that a dataclass holds."""
    return {field.name: kept[field.name] for field in fields(kind) if field.name in kept}


def see(data: bytes, info: ImageInfo) -> Look:
    """The frame in small; ImageError where its pixels are broken."""
    try:
        return look_at(data, info)
    except Exception as exc:  # Pillow has a kind of its own for each format
        raise undecoded(exc) from exc


def size(info: ImageInfo) -> np.ndarray:
    """(2,) height, width."""
    return np.array([info.height, info.width])


async def judge(image: np.ndarray, roi: np.ndarray, wanted: list[str]) -> dict[str, np.ndarray]:
    """The wanted outputs of `deepfake_face` for one region of the encoded image."""
    return await infer("deepfake_face", wanted, {"IMAGE": image[None], "ROI": roi[None]})


def score(verdict: dict[str, np.ndarray], side_px: float) -> Score:
    """What the stream takes from an answer of `deepfake_face`."""
    sharpness, brightness = verdict["QUALITY"].ravel().tolist()
    return Score(verdict["LOGIT"].item(), sharpness, brightness, float(side_px))
