"""Generated faces: sized and compressed as the real photographs, resumable, and data for the other stages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from export.data.faces import find_faces
from export.data.sources import read_items
from export.synthesis import generate

WIDTH, SIDE = 8, 96


def graph_of(path: Path, nodes: list, source: tuple[str, list], target: tuple[str, list], **values: np.ndarray) -> Path:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (source, target)]
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> tuple[Path, Path]:
    """Mapping and synthesis of random weights: noise to a style to a picture."""
    folder, rng = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    pixels = 3 * SIDE * SIDE
    mapping = graph_of(
        folder / "mapping.onnx",
        [helper.make_node("MatMul", ["noise", "a"], ["style"])],
        ("noise", ["n", WIDTH]),
        ("style", ["n", WIDTH]),
        a=rng.standard_normal((WIDTH, WIDTH)).astype(np.float32),
    )
    synthesis = graph_of(
        folder / "synthesis.onnx",
        [
            helper.make_node("MatMul", ["style", "a"], ["values"]),
            helper.make_node("Tanh", ["values"], ["bounded"]),
            helper.make_node("Reshape", ["bounded", "shape"], ["image"]),
        ],
        ("style", [1, WIDTH]),
        ("image", [1, 3, SIDE, SIDE]),
        a=rng.standard_normal((WIDTH, pixels)).astype(np.float32),
        shape=np.array([1, 3, SIDE, SIDE]),
    )
    return mapping, synthesis


@pytest.fixture
def ask(export, nets, data, tmp_path):
    """Calls the stage with these options besides; what it told."""

    def run(*flags: str):
        paths = ("--data", data, "--out", tmp_path / "more", "--mapping", nets[0], "--synthesis", nets[1])
        return export("generate", *paths, *flags)

    return run


@pytest.fixture
def command(ask, tmp_path):
    """Calls the stage; its new data folder."""

    def run(*flags: str) -> Path:
        told = ask(*flags)
        assert told.code == 0, told.err
        return tmp_path / "more"

    return run


def test_the_new_data_is_the_old_and_generated_faces_like_real_photographs(command, data):
    out = command("--count", "6", "--name", "new")
    old, items = read_items(data, 20), read_items(out, 20)
    assert [(i.label, i.source, i.group, i.split) for i in items[:-6]] == [
        (i.label, i.source, i.group, i.split) for i in old
    ]
    assert all(Path(item.path).samefile(data / before.path) for item, before in zip(items, old, strict=False))
    assert {(item.label, item.source, item.split) for item in items[-6:]} == {(1, "new", "train")}
    assert len({item.group for item in items[-6:]}) == 6
    photographs = []
    for item in old:
        if (item.label, item.split) == (0, "train") and item.path.startswith("real"):
            with Image.open(data / item.path) as photograph:
                photographs.append((min(photograph.size), photograph.quantization))
    for item in items[-6:]:
        with Image.open(out / item.path) as picture:
            assert (picture.size[0], picture.quantization) in photographs
            assert picture.size[0] == picture.size[1]


def test_other_stages_find_the_old_faces_in_the_new_data(command, faces, tmp_path):
    found = find_faces(command("--count", "1"), tmp_path / "run")  # the net here makes no faces
    assert [(face.label, face.split, face.box) for face in found] == [(f.label, f.split, f.box) for f in faces]


def test_an_interrupted_run_goes_on_with_the_same_faces(command):
    folder = command("--count", "4") / "fake" / "generated"

    def made() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}

    before = made()
    first, *others = sorted(folder.glob("*.jpg"))
    assert len({path.read_bytes() for path in (first, *others)}) == 4
    first.rename(folder / f".{first.stem}.1.draft.jpg")  # as a kill leaves it
    touched = [path.stat().st_mtime_ns for path in others]
    out = command("--count", "4")
    assert made() == before
    assert [path.stat().st_mtime_ns for path in others] == touched
    assert [item.path for item in read_items(out, 20)[-4:]] == [
        f"fake/generated/{path.name}" for path in (first, *others)
    ]


def test_a_folder_of_another_generator_or_of_the_data_itself_is_refused(command, ask, nets, data):
    out = command("--count", "1")
    refused = ask("--count", "1", "--mapping", str(nets[1]))
    assert refused.code == 1 and "was made with another mapping; remove it" in refused.err
    assert len(list((out / "fake" / "generated").glob("*.jpg"))) == 1
    manifest = (data / "manifest.csv").read_bytes()
    refused = ask("--out", str(data))
    assert refused.code == 1 and "holds the old data" in refused.err
    assert (data / "manifest.csv").read_bytes() == manifest


def test_styles_are_near_the_mean_where_they_are_truncated(nets):
    generator = generate.StyleGenerator(*nets)

    class Truncated:
        """Noise of one seed, and a truncation of its own."""

        def __init__(self, truncation: float) -> None:
            self.rng, self.truncation = np.random.default_rng(5), truncation

        def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:
            return self.rng.standard_normal(shape)

        def choice(self, _: tuple[float, ...]) -> float:
            return self.truncation

    mean, half, whole = (generator(Truncated(share)).astype(int) for share in (0.0, 0.5, 1.0))
    assert mean.shape == (SIDE, SIDE, 3)
    assert 0 < np.abs(half - mean).mean() < np.abs(whole - mean).mean()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--name", "real_source"], "has a source 'real_source' already"),
        (["--name", "a/b"], "--name a plain name"),
        (["--count", "0"], "--count is at least 1"),
    ],
)
def test_what_makes_no_new_source_is_refused(ask, flags, told):
    refused = ask(*flags)
    assert refused.code == 1 and told in refused.err


def test_without_real_training_photographs_there_is_nothing_to_be_like(nets, data, tmp_path):
    fakes = [item for item in read_items(data, 20) if item.label == 1]
    with pytest.raises(ValueError, match="no real photograph in the split train"):
        generate.generate(generate.StyleGenerator(*nets), fakes, data, tmp_path, 1, 0)


def test_photographs_that_cannot_be_read_are_passed_over_and_named_where_all_are(data):
    image, broken = np.zeros((SIDE, SIDE, 3), np.uint8), data / "broken.jpg"
    encoded = [
        generate.as_photographed(image, [broken, data / "real0.jpg"], np.random.default_rng(seed)) for seed in range(8)
    ]
    with Image.open(data / "real0.jpg") as photograph:
        side = min(photograph.size)
    assert {Image.open(io.BytesIO(one)).size for one in encoded} == {(side, side)}
    with pytest.raises(ValueError, match=r"none can be read; the last: .*broken\.jpg"):
        generate.as_photographed(image, [broken], np.random.default_rng(0))
