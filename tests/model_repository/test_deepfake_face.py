"""The hot path against its parts: the same pipeline alone, the same ONNX alone, and real batches."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from openvino import Core
from tritonclient.utils import InferenceServerException

from serving.pictures import pipelines
from serving.pictures.check import ImageError
from serving.pictures.pipeline_host import PipelineHost
from serving.supervisor.versions import newest

OUTPUTS = ["FAKE_PROBABILITY", "LOGIT", "HEATMAP", "QUALITY", "MODEL_VERSION", "THRESHOLD"]
WHOLE = np.array([0, 0, 1, 1], np.float32)
ROIS = [WHOLE, np.array([0.25, 0.02, 0.65, 0.42], np.float32), np.array([0.5, 0.5, 0.9, 0.75], np.float32)]


@pytest.fixture(scope="module")
def ask(infer):
    """ask(model, image, roi, outputs) of one image and region."""
    return lambda model, image, roi, outputs=None: infer(model, {"IMAGE": image[None], "ROI": roi[None]}, outputs)


@pytest.fixture(scope="module")
def pipeline() -> PipelineHost:
    return PipelineHost(pipelines.preprocess, max_batch_size=8, threads=1)


@pytest.fixture(scope="module")
def images(portrait, encode, as_array) -> list[np.ndarray]:
    """Encodings of different lengths, sizes and formats."""
    sizes = [(64, "JPEG"), (96, "PNG"), (128, "WEBP"), (200, "JPEG"), (256, "JPEG"), (320, "PNG"), (512, "JPEG")]
    return [as_array(encode(portrait.resize((side, side)), kind)) for side, kind in sizes]


def test_pipeline_is_the_same_in_any_batch(pipeline, images):
    alone = [pipeline.run(IMAGE=[image], ROI=[ROIS[1]])[0] for image in images]
    np.testing.assert_array_equal(np.stack(pipeline.run(IMAGE=images, ROI=[ROIS[1]] * len(images))), np.stack(alone))


def test_pipeline_output_is_pinned(pipeline, face_jpeg, as_array):
    """Mean of each channel of a known crop: a change of decoder, interpolation or colour order shows here."""
    (face,) = pipeline.run(IMAGE=[as_array(face_jpeg)], ROI=[WHOLE])
    assert face.shape == (224, 224, 3)
    assert face.dtype == np.uint8
    np.testing.assert_allclose(face.mean((0, 1)), PINNED_MEAN, atol=0.02)


PINNED_MEAN = [166.71, 149.82, 132.97]


def test_a_broken_image_fails_alone_and_the_pipeline_lives_on(pipeline, images, face_jpeg, as_array):
    broken = as_array(face_jpeg[:2] + b"\xff\xd9" + face_jpeg[-40:])
    results = pipeline.run(IMAGE=[images[0], broken, images[2]], ROI=[WHOLE] * 3)
    assert isinstance(results[1], ImageError)
    np.testing.assert_array_equal(results[0], pipeline.run(IMAGE=[images[0]], ROI=[WHOLE])[0])
    np.testing.assert_array_equal(results[2], pipeline.run(IMAGE=[images[2]], ROI=[WHOLE])[0])


@pytest.mark.parametrize("roi", ROIS, ids=["whole", "face", "not-square"])
def test_served_verdict_equals_the_pipeline_and_the_graph_run_directly(server, ask, pipeline, images, roi):
    """The same crop in the same graph: no difference beyond 1e-4."""
    core = Core()
    model = core.read_model(newest(server.options.model_repository / "classifier") / "model.int8.onnx")
    model.reshape([1, 224, 224, 3])  # as it is served: INT8 is rounded otherwise where the batch is open
    graph = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in images:
        expected = graph(np.stack(pipeline.run(IMAGE=[image], ROI=[roi])))
        answer = ask("deepfake_face", image, roi)
        for name in OUTPUTS:
            np.testing.assert_allclose(answer.as_numpy(name), expected[name], atol=1e-4, rtol=1e-5, err_msg=name)


def test_outputs_have_the_stated_shapes_and_ranges(ask, face_jpeg, as_array):
    answer = ask("deepfake_face", as_array(face_jpeg), WHOLE)
    shapes = {name: answer.as_numpy(name).shape for name in OUTPUTS}
    assert shapes == {
        "FAKE_PROBABILITY": (1, 1),
        "LOGIT": (1, 1),
        "HEATMAP": (1, 14, 14),
        "QUALITY": (1, 2),
        "MODEL_VERSION": (1, 1),
        "THRESHOLD": (1, 2),
    }
    probability, heatmap = answer.as_numpy("FAKE_PROBABILITY"), answer.as_numpy("HEATMAP")
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-answer.as_numpy("LOGIT"))), atol=1e-6)
    assert 0 <= heatmap.min() <= heatmap.max() <= 1
    real_below, fake_from = answer.as_numpy("THRESHOLD")[0]
    assert 0 <= real_below <= fake_from <= 1
    assert 0 < answer.as_numpy("QUALITY")[0, 1] < 1


def test_quality_is_laplacian_variance_and_mean_luma(ask, pipeline, face_jpeg, as_array):
    sharpness, brightness = ask("deepfake_face", as_array(face_jpeg), WHOLE).as_numpy("QUALITY")[0]
    gray = pipeline.run(IMAGE=[as_array(face_jpeg)], ROI=[WHOLE])[0] @ np.array([0.299, 0.587, 0.114])
    edges = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:] - 4 * gray[1:-1, 1:-1]
    assert sharpness == pytest.approx(edges.var(), rel=1e-3)
    assert brightness == pytest.approx(gray.mean() / 255, rel=1e-3)


def test_only_what_is_asked_for_is_sent(ask, face_jpeg, as_array):
    answer = ask("deepfake_face", as_array(face_jpeg), WHOLE, ["FAKE_PROBABILITY"])
    assert [output.name for output in answer.get_response().outputs] == ["FAKE_PROBABILITY"]


def test_requests_of_mixed_lengths_are_really_batched(server, ask, images):
    """Triton's own statistics: fewer executions than inferences, and every answer belongs to its image."""
    expected = [ask("deepfake_face", image, WHOLE).as_numpy("LOGIT") for image in images]
    before = counts(server, "classifier")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda image: ask("deepfake_face", image, WHOLE).as_numpy("LOGIT"), images * 20))
    inferences, executions = gained(server, "classifier", before, len(images) * 20)
    np.testing.assert_allclose(answers, expected * 20, atol=1e-3)
    assert inferences >= len(images) * 20
    assert inferences / executions > 1


def test_bad_images_between_good_ones_fail_alone(server, ask, images, face_jpeg, portrait, encode, as_array):
    """One is refused by its bytes, one breaks the decoder: neither takes an answer from the others, or another's."""
    png = bytearray(encode(portrait, "PNG"))
    png[len(png) // 2 : len(png) // 2 + 64] = bytes(64)
    bad = [as_array(face_jpeg[:-200]), as_array(bytes(png))]
    expected = [ask("deepfake_face", image, WHOLE).as_numpy("LOGIT") for image in images]
    before = counts(server, "classifier")

    def logit(image: np.ndarray) -> np.ndarray | str:
        try:
            return ask("deepfake_face", image, WHOLE).as_numpy("LOGIT")
        except InferenceServerException as exc:
            return str(exc)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(logit, [*images[:3], bad[0], *images[3:], bad[1]] * 20))
    inferences, executions = gained(server, "classifier", before, len(images) * 20)
    assert inferences / executions > 1
    for i in range(0, len(answers), len(images) + 2):
        one, two = answers[i + 3], answers[i + len(images) + 1]
        assert "invalid input" in one and "truncated" in one
        assert "invalid input" in two and "decoded" in two
        good = [*answers[i : i + 3], *answers[i + 4 : i + len(images) + 1]]
        np.testing.assert_allclose(good, expected, atol=1e-3)


def counts(server, model: str) -> tuple[int, int]:
    (statistics,) = (m for m in server.api.statistics() if m["name"] == model)
    return statistics["inference_count"], statistics["execution_count"]


def gained(server, model: str, before: tuple[int, int], wanted: int) -> tuple[int, int]:
    """Inferences and executions since `before`; an answer can arrive a moment before it is counted."""
    for _ in range(100):
        inferences, executions = (new - old for new, old in zip(counts(server, model), before, strict=True))
        if inferences >= wanted:
            break
        time.sleep(0.05)
    return inferences, executions


def test_both_priorities_are_answered_and_an_unknown_model_is_refused(infer, face_jpeg, as_array):
    inputs = {"IMAGE": as_array(face_jpeg)[None], "ROI": WHOLE[None]}
    for priority in (0, 1, 2):
        infer("deepfake_face", inputs, priority=priority)
    with pytest.raises(InferenceServerException, match="no_such_model"):
        infer("no_such_model", inputs)
