"""Half-precision ONNX graph -> TensorRT engine for the GPU of this machine.

It reads `model.fp16.onnx` and the batch sizes of `config.pbtxt`. It writes `model.plan` and `model.plan.json`, which
says what built the plan and for what, the memory of an execution context, and how the layers were fused. It needs
TensorRT 10 or 11 with its builder, and a GPU, but no torch. A plan loads only with the TensorRT version and on the kind
of GPU that built it, so build it on the host that serves. A plan that still fits graph, TensorRT, GPU and batch sizes
is left alone. Where something is missing or the build does not finish, it fails (exit code 1) and keeps an older plan.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from reports.machine import gpu
from serving.files import digest, replacing
from serving.paths import CACHE, REPOSITORY
from serving.settings import command_line
from serving.supervisor.versions import newest

from ..errors import EngineError
from .engine_report import fusion, table

CLASSIFIER = REPOSITORY / "classifier"
GRAPH = newest(CLASSIFIER) / "model.fp16.onnx"
WORKSPACE_BYTES = 1 << 30
INSTALL = (
    "TensorRT's builder is not installed here; run `docker compose run engine`, whose image has it, or install the"
    " package `tensorrt` (tensorrt-cu13 for CUDA 13) that matches the server's TensorRT"
)


@dataclass(frozen=True)
class Batches:
    """Batch sizes of the optimisation profile; the kernels are tuned for `optimum`."""

    smallest: int
    optimum: int
    largest: int


@dataclass(frozen=True)
class Origin:
    """What a plan depends on: it is good where all of this is the same, and nowhere else."""

    onnx: str  # SHA-256 of the graph
    batches: Batches
    tensorrt: str
    gpu: str
    compute_capability: str


def served_batches(config: Path) -> Batches:
    """From 1 to max_batch_size, tuned for the largest preferred size of the dynamic batcher, else for the largest."""
    parsed = text_format.Parse(config.read_text(), ModelConfig())
    preferred = parsed.dynamic_batching.preferred_batch_size
    return Batches(1, max(preferred, default=parsed.max_batch_size), parsed.max_batch_size)


def origin(onnx: Path, config: Path) -> Origin:
    """What a plan that is built now would depend on; raises EngineError where TensorRT or the GPU is missing."""
    version = builder_library().__version__
    device = gpu()
    if device is None:
        raise EngineError("no GPU: nvidia-smi does not answer; build on the host that serves, with its driver")
    return Origin(digest(onnx), served_batches(config), version, device["name"], device["compute_cap"])


def check_plan(plan: Path, tensorrt: str, device: dict[str, str] | None) -> dict:
    """The sidecar of a plan that may be loaded here.

    Args:
        tensorrt: version that would load it.
        device: as `machine.gpu` gives it.

    Raises EngineError, before TensorRT is asked, where it was built by another TensorRT or for another GPU, or is not
    the file that its sidecar describes.
    """
    again = "build it here: python3 -m export engine"
    try:
        about: dict = json.loads(sidecar(plan).read_text())
        built, intact = about["origin"], digest(plan) == about["plan"]
    except (OSError, ValueError, KeyError) as exc:
        raise EngineError(f"{plan} has no readable {sidecar(plan).name} ({exc!r}); {again}") from exc
    if not intact:
        raise EngineError(f"{plan} is not the file that {sidecar(plan).name} describes; {again}")
    if built["tensorrt"] != tensorrt:
        raise EngineError(f"{plan} was built by TensorRT {built['tensorrt']} and this is {tensorrt}; {again}")
    here = (device["name"], device["compute_cap"]) if device else ("no GPU", "none")
    if (built["gpu"], built["compute_capability"]) != here:
        raise EngineError(
            f"{plan} was built for {built['gpu']} (compute capability {built['compute_capability']}) and this is"
            f" {here[0]} ({here[1]}); {again}"
        )
    return about


def is_current(plan: Path, wanted: Origin) -> bool:
    """Whether `plan` is there, whole, and depends on exactly what `wanted` says."""
    try:
        about = check_plan(plan, wanted.tensorrt, {"name": wanted.gpu, "compute_cap": wanted.compute_capability})
    except EngineError:
        return False
    return bool(about["origin"] == asdict(wanted))


def build(
    onnx: Path, batches: Batches, timing_cache: Path, workspace_bytes: int = WORKSPACE_BYTES
) -> tuple[bytes, dict]:
    """The serialised engine, and the report on its layers and memory; `timing_cache` is read and brought up to date."""
    trt = builder_library()
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        raise EngineError(f"{onnx} does not parse: {parser.get_error(0)}")
    before = [network.get_layer(i).name for i in range(network.num_layers)]
    config = _configuration(trt, builder, network, batches, workspace_bytes)
    known = timing_cache.read_bytes() if timing_cache.exists() else b""
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):  # of another TensorRT or GPU
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT {trt.__version__} could not build {onnx}; its log above says why")
    with replacing(timing_cache) as draft:
        draft.write_bytes(config.get_timing_cache().serialize())
    runtime = trt.Runtime(logger)  # an engine must not outlive it
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} cannot load what it built; its log above says why")
    layers = json.loads(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    return bytes(plan), {"context_bytes": engine.device_memory_size_v2, **fusion(before, layers)}


def _configuration(trt, builder, network, batches: Batches, workspace_bytes: int):
    """One profile: Triton gives every profile of every instance an execution context, each with memory of its own."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    config.clear_flag(trt.BuilderFlag.TF32)  # what the graph keeps in FP32, QUALITY above all, must be FP32
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the report; costs nothing at run time
    profile = builder.create_optimization_profile()
    face = network.get_input(0)
    sizes = (batches.smallest, batches.optimum, batches.largest)
    profile.set_shape(face.name, *[(size, *tuple(face.shape)[1:]) for size in sizes])
    config.add_optimization_profile(profile)
    return config


def builder_library():
    """The module `tensorrt`, 10.1 or later and with its builder; raises EngineError with what to install."""
    try:
        import tensorrt
    except ImportError as exc:
        raise EngineError(INSTALL) from exc
    if not hasattr(tensorrt, "OnnxParser"):
        raise EngineError(INSTALL)
    if tuple(map(int, tensorrt.__version__.split(".")[:2])) < (10, 1):  # before, a context's memory had other names
        raise EngineError(f"TensorRT {tensorrt.__version__} is too old, 10.1 or later is needed")
    return tensorrt


def sidecar(plan: Path) -> Path:
    """`model.plan.json` beside `model.plan`."""
    return plan.with_name(plan.name + ".json")


def make(onnx: Path, plan: Path, config: Path, timing_cache: Path, workspace_bytes: int) -> dict | None:
    """Builds `plan` with its sidecar and returns the sidecar; None where the plan that is there still fits."""
    wanted = origin(onnx, config)
    if is_current(plan, wanted):
        return None
    content, report = build(onnx, wanted.batches, timing_cache, workspace_bytes)
    with replacing(plan) as draft:
        draft.write_bytes(content)
    about = {"origin": asdict(wanted), "plan": digest(plan), "bytes": len(content), **report}
    with replacing(sidecar(plan)) as draft:
        draft.write_text(json.dumps(about, indent=2) + "\n")
    return about


def main(
    onnx: Path = GRAPH,
    plan: Path | None = None,
    config: Path = CLASSIFIER / "config.pbtxt",
    timing_cache: Path = CACHE / "tensorrt.timing",
    workspace_mib: int = WORKSPACE_BYTES >> 20,
) -> int:
    """Builds the engine. Exit code: 0 built or still good, 1 failed, 2 usage.

    Args:
        onnx: the graph.
        plan: the engine; model.plan beside the graph where it is not given.
        config: names the batch sizes.
        timing_cache: of TensorRT, kept from build to build.
        workspace_mib: memory that TensorRT may use while it builds.
    """
    plan = plan or onnx.with_name("model.plan")
    try:
        about = make(onnx, plan, config, timing_cache, workspace_mib << 20)
    except (EngineError, OSError) as exc:
        print(f"no engine: {exc}", file=sys.stderr)
        return 1
    print(table(about) if about else f"{plan} still fits this graph, TensorRT and GPU")
    return 0


if __name__ == "__main__":
    sys.exit(command_line(main, "python3 -m export.conversion.onnx_to_engine", __doc__))
