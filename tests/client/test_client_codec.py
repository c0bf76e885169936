"""Tensors of the contract: what is sent, and what answers of every size become."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from facewarden import ImageError, ServerError, Threshold
from facewarden._codec import WHOLE, Asked, face_call, image_call, read_face, read_image

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


def sent(call: Any) -> dict[str, tuple[list[int], str, bytes]]:
    return {i.name(): (list(i.shape()), i.datatype(), i._get_content()) for i in call.inputs}


def asked_for(call: Any) -> set[str]:
    return {output.name() for output in call.outputs}


def test_image_request(image_answer: Answer) -> None:
    call = image_call(b"abc", Asked(priority="bulk"))
    assert (call.model_name, call.priority) == ("deepfake_image", 2)
    assert sent(call) == {"IMAGE": ([3], "UINT8", b"abc")}
    assert asked_for(call) == set(image_answer(0.1))


def test_max_faces_is_sent_only_when_set() -> None:
    call = image_call(b"abc", Asked(max_faces=2))
    assert sent(call)["MAX_FACES"] == ([1], "INT32", np.int32(2).tobytes())


def test_heatmap_is_requested_only_when_asked_for() -> None:
    assert "HEATMAP" in asked_for(image_call(b"abc", Asked(heatmap=True)))
    assert "HEATMAP" in asked_for(face_call(b"abc", WHOLE, Asked(heatmap=True)))
    assert "HEATMAP" not in asked_for(face_call(b"abc", WHOLE, Asked()))


def test_face_request() -> None:
    call = face_call(b"abc", (0.25, 0, 0.75, 1), Asked())
    assert (call.model_name, call.priority) == ("deepfake_face", 1)
    roi = np.array([0.25, 0, 0.75, 1], np.float32).tobytes()
    assert sent(call) == {"IMAGE": ([1, 3], "UINT8", b"abc"), "ROI": ([1, 4], "FP32", roi)}
    assert asked_for(call) == set(face_answer(0.1))


def test_a_roi_has_four_numbers() -> None:
    with pytest.raises(ImageError, match="ROI"):
        face_call(b"abc", (0, 0, 1), Asked())


@pytest.mark.parametrize("wrong", [{"priority": "urgent"}, {"max_faces": 0}], ids=["priority", "max_faces"])
def test_wrong_wishes_are_value_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Asked(**wrong)


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
