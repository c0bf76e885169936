"""The label rule, thresholds and the JSON of a verdict."""

import json

import pytest

from facewarden import ImageError, Threshold, Verdict

RULE = Threshold(0.3, 0.7)
LABELS = {
    "zero": (0.0, "real"),
    "just below real_below": (0.2999, "real"),
    "at real_below": (0.3, "review"),
    "just below fake_from": (0.6999, "review"),
    "at fake_from": (0.7, "fake"),
    "one": (1.0, "fake"),
}


@pytest.mark.parametrize(("probability", "label"), LABELS.values(), ids=LABELS)
def test_label_rule(probability: float, label: str) -> None:
    assert RULE.label(probability) == label


def test_equal_thresholds_leave_nothing_to_review() -> None:
    rule = Threshold(0.5, 0.5)
    assert (rule.label(0.4999), rule.label(0.5)) == ("real", "fake")


@pytest.mark.parametrize("pair", [(0.7, 0.3), (-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5)], ids=str)
def test_thresholds_are_ordered_and_within_0_and_1(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="real_below"):
        Threshold(*pair)


def test_failed_verdict_has_every_key_and_a_sentence() -> None:
    line = json.loads(json.dumps(Verdict.failed(ImageError("The image is empty."), "a.jpg", 1.23456).to_json()))
    assert line == {
        "path": "a.jpg",
        "label": None,
        "fake_probability": None,
        "faces": [],
        "threshold": None,
        "model_version": None,
        "latency_ms": 1.23,
        "error": "The image is empty.",
    }
