"""Reconstructions: as sharp as their originals, on their grid, resumable. The nets are made here, blurring ones."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.ndimage import gaussian_filter

from export.synthesis import reconstruct

BLUR = np.array([1, 4, 6, 4, 1], np.float32) / 16


def blurring_net(path: Path, source: str, target: str) -> Path:
    """An ONNX net (n, 3, h, w) -> the same shape, that softens: an encoder or a decoder of the simplest kind."""
    weight = np.tile(np.outer(BLUR, BLUR)[None, None], (3, 1, 1, 1))
    node = helper.make_node("Conv", [source, "weight"], [target], group=3, pads=[2, 2, 2, 2])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, "h", "w"]) for n in (source, target)]
    graph = helper.make_graph([node], "blur", values[:1], values[1:], [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return blurring_net(folder / "e.onnx", "image", "latent"), blurring_net(folder / "d.onnx", "latent", "image")


@pytest.fixture(scope="module")
def reconstructor(nets) -> reconstruct.Reconstructor:
    return reconstruct.Reconstructor(*nets, workers=1)


def test_a_soft_copy_gets_the_sharpness_of_its_original(portrait):
    reference = np.asarray(portrait, np.float32)[:384, 64:448] / 255
    soft = gaussian_filter(reference, (1, 1, 0))
    before = reconstruct.sharpness_ratios(soft * 255, reference * 255)
    matched = reconstruct.match_sharpness(soft, reference, 0.2)
    after = reconstruct.sharpness_ratios(matched.clip(0, 1) * 255, reference * 255)
    assert before["laplacian_variance"] < 0.3
    assert all(0.75 < ratio < 1.25 for ratio in after.values()), after


def test_bands_add_up_to_the_picture(portrait):
    image = np.asarray(portrait, np.float32) / 255
    np.testing.assert_allclose(sum(reconstruct.bands(image)), image, atol=1e-5)


def test_a_twin_has_its_originals_tables_size_and_sharpness(portrait, encode, reconstructor):
    box = np.array([184.0, 64, 270, 176])
    data = encode(portrait, quality=83)
    encoded, found = reconstruct.twin_of(data, box, reconstructor, 0, 512)
    again, _ = reconstruct.twin_of(data, box, reconstructor, 0, 512)
    assert encoded == again
    x0, y0, x1, y1 = found["crop"]
    assert all(value % 16 == 0 for value in found["crop"])
    np.testing.assert_allclose(np.add(found["box"], [x0, y0, x0, y0]), box)
    with Image.open(io.BytesIO(encoded)) as twin, Image.open(io.BytesIO(data)) as original:
        assert twin.size == (x1 - x0, y1 - y0)
        assert twin.quantization == original.quantization
    assert 0.7 < found["sharpness"]["laplacian_variance"] < 1.3


def test_a_large_face_is_scaled_to_the_limit(portrait, encode, reconstructor):
    encoded, found = reconstruct.twin_of(encode(portrait, "PNG"), [150, 20, 310, 200], reconstructor, 0, 128)
    with Image.open(io.BytesIO(encoded)) as twin:
        assert twin.format == "PNG"
        assert (found["height"], found["width"]) == twin.size[::-1]
        assert max(twin.size) == 128
    assert found["box"][2] - found["box"][0] < 100


@pytest.mark.parametrize("box", [(0, 0, 30, 40), (470, 480, 511, 511), (-5, -5, 600, 600)])
def test_a_crop_lies_on_the_grid_inside_the_picture(box):
    x0, y0, x1, y1 = reconstruct.aligned_crop(np.array(box), 509, 511)
    assert 0 <= x0 < x1 <= 511
    assert 0 <= y0 < y1 <= 509
    assert not any(value % 16 for value in (x0, y0, x1, y1))


def test_an_interrupted_run_goes_on_and_ends_with_the_same(export, data, nets, tmp_path):
    listing = tmp_path / "reconstructions" / "faces.jsonl"
    command = ("reconstruct", "--data", data, "--out", tmp_path, "--encoder", nets[0], "--decoder", nets[1])
    assert export(*command).code == 0
    whole = listing.read_text()
    lines = [json.loads(line) for line in whole.splitlines()]
    assert {line["twin"] for line in lines} == {f"real{i}.jpg" for i in range(4)}
    assert all(Path(line["path"]).exists() and line["split"] == "train" for line in lines)
    listing.write_text(whole[: len(whole) // 2])
    again = export(*command)
    assert again.code == 0 and "laplacian_variance" in again.out
    assert listing.read_text() == whole
    refused = export(*command, "--seed", 1)
    assert refused.code == 1 and "was made with another seed; remove it" in refused.err


def test_an_unknown_source_is_named():
    with pytest.raises(ValueError, match="camera"):
        reconstruct.choose([], ["camera:3"], 0)
