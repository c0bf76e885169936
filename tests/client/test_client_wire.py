"""Tensors of the contract: what is sent, and what answers of every size become."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from facewarden import ImageError, ServerError, Threshold
from facewarden.wire import (
    LABELS,
    STATES,
    WHOLE_PICTURE,
    RequestOptions,
    face_request,
    frame_request,
    image_request,
    read_face,
    read_image,
)

MODELS = Path(__file__).parents[2] / "model_repository"
Tensors = dict[str, Any]
Answer = Callable[..., Tensors]


def face_answer(probability: float) -> Tensors:
    return {
        "FAKE_PROBABILITY": np.array([[probability]], np.float32),
        "LOGIT": np.array([[1.5]], np.float32),
        "QUALITY": np.array([[120.5, 0.5]], np.float32),
        "MODEL_VERSION": np.array([[3]], np.int32),
        "THRESHOLD": np.array([[0.3, 0.7]], np.float32),
    }


def sent(request: Any) -> dict[str, tuple[list[int], str, bytes]]:
    return {i.name(): (list(i.shape()), i.datatype(), i._get_content()) for i in request.arguments()["inputs"]}


def asked_for(request: Any) -> set[str]:
    return {output.name() for output in request.arguments()["outputs"]}


def test_image_request(image_answer: Answer) -> None:
    request = image_request(b"abc", RequestOptions(priority="bulk"))
    assert (request.model_name, request.priority) == ("deepfake_image", 2)
    assert sent(request) == {"IMAGE": ([3], "UINT8", b"abc")}
    assert asked_for(request) == set(image_answer(0.1))


def test_max_faces_is_sent_only_when_set() -> None:
    request = image_request(b"abc", RequestOptions(max_faces=2))
    assert sent(request)["MAX_FACES"] == ([1], "INT32", np.int32(2).tobytes())


def test_heatmap_is_requested_only_when_asked_for() -> None:
    assert "HEATMAP" in asked_for(image_request(b"abc", RequestOptions(heatmap=True)))
    assert "HEATMAP" in asked_for(face_request(b"abc", WHOLE_PICTURE, RequestOptions(heatmap=True)))
    assert "HEATMAP" not in asked_for(face_request(b"abc", WHOLE_PICTURE, RequestOptions()))


def test_face_request() -> None:
    request = face_request(b"abc", (0.25, 0, 0.75, 1), RequestOptions())
    assert (request.model_name, request.priority) == ("deepfake_face", 1)
    roi = np.array([0.25, 0, 0.75, 1], np.float32).tobytes()
    assert sent(request) == {"IMAGE": ([1, 3], "UINT8", b"abc"), "ROI": ([1, 4], "FP32", roi)}
    assert asked_for(request) == set(face_answer(0.1))


def test_a_roi_has_four_numbers() -> None:
    with pytest.raises(ImageError, match="ROI"):
        face_request(b"abc", (0, 0, 1), RequestOptions())


@pytest.mark.parametrize("wrong", [{"priority": "urgent"}, {"max_faces": 0}], ids=["priority", "max_faces"])
def test_wrong_wishes_are_value_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RequestOptions(**wrong)


def test_no_face_is_an_answer(image_answer: Answer) -> None:
    verdict = read_image(image_answer().get, None, 12.0, "a.jpg")
    assert (verdict.label, verdict.fake_probability, verdict.faces, verdict.face) == ("no_face", None, (), None)
    assert (verdict.threshold, verdict.model_version, verdict.error) == (None, None, None)
    assert (verdict.image_size, verdict.latency_ms, verdict.path) == ((480, 640), 12.0, "a.jpg")


def test_no_face_stays_without_threshold_when_overridden(image_answer: Answer) -> None:
    assert read_image(image_answer().get, Threshold(0.1, 0.2), 1.0, None).threshold is None


def test_the_most_suspicious_face_decides(image_answer: Answer) -> None:
    verdict = read_image(image_answer(0.1, 0.95, 0.5).get, None, 1.0, None)
    assert (verdict.label, verdict.model_version) == ("fake", 3)
    assert verdict.fake_probability == pytest.approx(0.95)
    assert verdict.face is verdict.faces[1]
    assert [face.label for face in verdict.faces] == ["real", "fake", "review"]
    assert verdict.faces[2].box == (8, 9, 10, 11)
    assert verdict.faces[0].landmark.shape == (6, 2)
    assert verdict.faces[0].quality.side_px == 64


def test_thresholds_can_be_overridden(image_answer: Answer) -> None:
    strict = read_image(image_answer(0.2).get, Threshold(0.05, 0.15), 1.0, None)
    assert (strict.label, strict.threshold) == ("fake", Threshold(0.05, 0.15))
    assert read_face(face_answer(0.2).get, Threshold(0.05, 0.15), 1.0).label == "fake"


def test_one_model_version_may_stand_for_all_faces(image_answer: Answer) -> None:
    answer = image_answer(0.1, 0.2) | {"MODEL_VERSION": np.array([7], np.int32)}
    assert [face.model_version for face in read_image(answer.get, None, 1.0, None).faces] == [7, 7]
    answer = image_answer() | {"MODEL_VERSION": np.array([7], np.int32)}
    assert read_image(answer.get, None, 1.0, None).model_version is None


def test_heatmap_comes_per_face(image_answer: Answer) -> None:
    heatmap = read_image(image_answer(0.1, heatmap=True).get, None, 1.0, None).faces[0].heatmap
    assert heatmap is not None and heatmap.shape == (14, 14)
    assert read_image(image_answer(0.1).get, None, 1.0, None).faces[0].heatmap is None


def test_face_answer() -> None:
    verdict = read_face((face_answer(0.5) | {"HEATMAP": np.ones((1, 14, 14), np.float32)}).get, None, 5.0)
    assert (verdict.label, verdict.fake_probability, verdict.logit) == ("review", 0.5, 1.5)
    assert (verdict.model_version, verdict.latency_ms, verdict.quality.side_px) == (3, 5.0, None)
    assert verdict.heatmap is not None and verdict.heatmap.shape == (14, 14)


def test_names_of_labels_and_states() -> None:
    assert LABELS == ("real", "review", "fake", "no_face")
    assert STATES == ("collecting", "real", "fake", "review", "no_face"), "as the server numbers them"


REQUESTS = [
    face_request(b"abc", WHOLE_PICTURE, RequestOptions(heatmap=True)),
    image_request(b"abc", RequestOptions(heatmap=True, max_faces=2)),
    frame_request(b"abc", 0.5, 3, "camera 1", resume=np.zeros((1, 4), np.uint8), heatmap=True),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request_: request_.model_name)
def test_tensors_are_those_of_the_model_s_configuration(request_: Any) -> None:
    text = (MODELS / request_.model_name / "config.pbtxt").read_text()
    config = text_format.Parse(text, ModelConfig())
    batch = [1] if config.max_batch_size else []
    known = {tensor.name: (DataType.Name(tensor.data_type), [*batch, *tensor.dims]) for tensor in config.input}
    for name, (shape, kind, _) in sent(request_).items():
        assert known[name][0] == f"TYPE_{kind}"
        assert len(shape) == len(known[name][1])
        assert all(fixed in (-1, side) for fixed, side in zip(known[name][1], shape, strict=True))
    assert set(known) == set(request_.inputs)
    assert asked_for(request_) <= {tensor.name for tensor in config.output}


STRANGE: dict[str, Tensors] = {
    "missing output": {"BOX": None},
    "wrong count": {"CONFIDENCE": np.zeros(5, np.float32)},
    "wrong rank": {"BOX": np.zeros((1, 1, 4), np.float32)},
    "not a number": {"FAKE_PROBABILITY": np.array([np.nan], np.float32)},
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_a_strange_answer_is_a_server_error(change: Tensors, image_answer: Answer) -> None:
    with pytest.raises(ServerError, match=next(iter(change))):
        read_image((image_answer(0.5) | change).get, None, 1.0, None)


def test_json_line(image_answer: Answer) -> None:
    line = json.loads(json.dumps(read_image(image_answer(0.95).get, None, 12.3456, "a.jpg").to_json()))
    assert line == {
        "path": "a.jpg",
        "label": "fake",
        "fake_probability": 0.95,
        "faces": [
            {
                "box": [0, 1, 2, 3],
                "confidence": 0.9,
                "fake_probability": 0.95,
                "quality": {"sharpness": 120.5, "brightness": 0.5, "side_px": 64},
            }
        ],
        "threshold": [0.3, 0.7],
        "model_version": 3,
        "latency_ms": 12.35,
        "error": None,
    }
