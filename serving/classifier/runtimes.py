"""The runtimes that execute the classifier: a callable from FACE arrays (b, 224, 224, 3) uint8 to {output name: array}.

The outputs are NumPy arrays with the rows of all of FACE. On a GPU the faces are CuPy arrays: they stay in its memory,
and only the verdicts, about 1 KB a face, are copied back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .manifest import read_manifest

FACE_SHAPE = (224, 224, 3)
Graph = Callable[[Sequence[Any]], dict[str, np.ndarray]]
DLPACK_CPU = 1  # kDLCPU of dlpack.h
INSTALL = "install it with: .venv/bin/pip install -r requirements/gpu.txt"


def on_cpu(folder: Path, threads: int, max_batch_size: int, precision: str = "int8") -> Graph:
    """A version's graph on the CPU: by OpenVINO, or by ONNX Runtime where its manifest says so.

    Args:
        precision: int8 takes `model.int8.onnx`, or `model.onnx` in FP32 where the version has no other; f32, and bf16
            where the CPU has it, `model.onnx`. Raises ValueError for others, and where the version lacks the graph.
    """
    runtime = read_manifest(folder).get("runtime", "openvino")
    if runtime == "openvino":
        if precision != "int8":
            return openvino(folder / "model.onnx", threads, max_batch_size, precision)
        return openvino(int8_or_f32(folder), threads, max_batch_size)
    if runtime != "onnxruntime":
        raise ValueError(f"version {folder.name} asks for the runtime {runtime}; it is openvino or onnxruntime")
    if precision != "int8":
        raise ValueError(f"version {folder.name} computes by {runtime} in INT8; precision {precision!r} is not for it")
    return onnxruntime_cpu(folder / "model.onnx", threads)


def int8_or_f32(folder: Path) -> Path:
    """The graph that a CPU computes by default: `model.int8.onnx` where the manifest has it, else `model.onnx`."""
    files = read_manifest(folder).get("files", {})
    return folder / ("model.int8.onnx" if "model.int8.onnx" in files else "model.onnx")


def onnxruntime_cpu(onnx: Path, threads: int) -> Graph:
    """ONNX Runtime on `threads` cores, face by face: for graphs that are quantised while they run, with one face."""
    session = int8_session(onnx, threads)
    names = [output.name for output in session.get_outputs()]

    def run(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        pieces = [session.run(names, {"FACE": face[None]}) for faces in arrays for face in faces]
        return {name: np.concatenate(values) for name, values in zip(names, zip(*pieces, strict=True), strict=True)}

    return run


def int8_session(onnx: Path, threads: int, exact: bool | None = None) -> Any:
    """A session of ONNX Runtime on the CPU for a graph with products of unsigned and signed bytes.

    Args:
        exact: by unsigned bytes alone. Without VNNI the faster products saturate, and give other answers
            (onnxruntime.ai/docs/performance/model-optimizations/quantization.html); None: where the CPU has no VNNI.
    """
    if find_spec("onnxruntime") is None:
        raise RuntimeError("ONNX Runtime is missing; install it with: .venv/bin/pip install -r requirements/clip.txt")
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    if "vnni" not in Path("/proc/cpuinfo").read_text() if exact is None else exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])


def openvino(onnx: Path, threads: int, max_batch_size: int, precision: str = "f32") -> Graph:
    """OpenVINO on `threads` cores.

    A fixed shape takes 10 to 14 % less time than a dynamic batch. One thread saves nothing by a batch, so it has one
    graph, for one face. Several threads share out a batch better than a face: they have a graph for each size of a
    batch, and the graphs share their weights (docs/performance.md).

    Args:
        precision: f32, or bf16 where the CPU has it, else ValueError, of what the graph does not give in INT8. Not
            chosen by itself, as OpenVINO would: answers would depend on the machine.
    """
    from openvino import Core

    core, requests = Core(), {}
    if precision not in ("f32", "bf16"):
        raise ValueError(f"precision is int8, f32 or bf16, got {precision!r}")
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError("precision is bf16, and this CPU does not have it; set it to int8")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,  # every instance would pin itself to the same first core
    }
    most = 1 if threads == 1 else max_batch_size
    for size in range(1, most + 1):
        model = core.read_model(onnx)
        model.reshape([size, *FACE_SHAPE])
        requests[size] = core.compile_model(model, "CPU", settings).create_infer_request()
        requests[size].infer([np.zeros((size, *FACE_SHAPE), np.uint8)])  # takes its memory now, not one day under load

    def run(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        if most == 1:
            pieces = [infer(face[None]) for faces in arrays for face in faces]
        else:
            faces = np.concatenate(arrays)
            pieces = [infer(faces[i : i + most]) for i in range(0, len(faces), most)]
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}

    def infer(faces: np.ndarray) -> dict[str, np.ndarray]:
        results = requests[len(faces)].infer([faces], share_inputs=True)
        return {name: value for output, value in results.items() for name in output.names}

    return run


def on_gpu(folder: Path, device_id: int) -> Graph:
    """TensorRT with `model.plan` where TensorRT is installed, else ONNX Runtime's CUDA provider with `model.onnx`."""
    if find_spec("cupy") is None:
        raise RuntimeError(f"CuPy, which holds the GPU's memory, is missing; {INSTALL}")
    if find_spec("tensorrt"):
        return tensorrt(folder / "model.plan", device_id)
    return onnxruntime_cuda(folder / "model.onnx", device_id)


def tensorrt(plan: Path, device_id: int) -> Graph:
    """TensorRT 10 or 11 on one GPU; RuntimeError for an engine that is missing or was built elsewhere.

    API: docs.nvidia.com/deeplearning/tensorrt, IExecutionContext (tensors by name and address, enqueue on a stream).
    """
    build = (
        f"build it on this GPU with: python -m export engine --onnx {plan.with_name('model.fp16.onnx')} --plan {plan}"
    )
    if not plan.is_file():
        raise RuntimeError(f"{plan.name} is missing; {build}")
    import cupy
    import tensorrt as trt

    cupy.cuda.Device(device_id).use()
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    engine = runtime.deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise RuntimeError(f"{plan.name} is of another GPU or not of TensorRT {trt.__version__}; {build}")
    context, stream = engine.create_execution_context(), cupy.cuda.Stream()
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    kinds = {
        name: trt.nptype(engine.get_tensor_dtype(name))
        for name in names
        if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
    }

    def run(arrays: Sequence[Any], _runtime: Any = runtime) -> dict[str, np.ndarray]:  # an engine must not outlive it
        with stream:
            faces = cupy.concatenate(arrays)
            context.set_input_shape("FACE", faces.shape)
            results = {name: cupy.empty(tuple(context.get_tensor_shape(name)), kind) for name, kind in kinds.items()}
            for name, array in {"FACE": faces, **results}.items():
                context.set_tensor_address(name, array.data.ptr)
            if not context.execute_async_v3(stream.ptr):
                raise RuntimeError(f"TensorRT could not run a batch of {len(faces)}; its log says why")
            return {name: cupy.asnumpy(array) for name, array in results.items()}  # waits for the stream

    return run


def onnxruntime_cuda(onnx: Path, device_id: int) -> Graph:
    """ONNX Runtime's CUDA provider on one GPU; raises rather than falling back to the CPU unnoticed.

    API: onnxruntime.ai/docs/api/python, IOBinding (inputs by device pointer).
    """
    if find_spec("onnxruntime") is None:
        raise RuntimeError(f"neither TensorRT nor ONNX Runtime is there; {INSTALL}")
    import cupy
    import onnxruntime

    cupy.cuda.Device(device_id).use()
    onnxruntime.preload_dlls()  # CUDA and cuDNN out of their wheels
    session = onnxruntime.InferenceSession(str(onnx), providers=[("CUDAExecutionProvider", {"device_id": device_id})])
    if "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError("ONNX Runtime found no CUDA: install onnxruntime-gpu, or use the profile embedded-cpu")
    names = [output.name for output in session.get_outputs()]

    def run(arrays: Sequence[Any]) -> dict[str, np.ndarray]:
        faces, binding = cupy.concatenate(arrays), session.io_binding()
        cupy.cuda.get_current_stream().synchronize()  # the session works on a stream of its own
        binding.bind_input("FACE", "cuda", device_id, np.uint8, faces.shape, faces.data.ptr)
        for name in names:
            binding.bind_output(name, "cpu")
        session.run_with_iobinding(binding)
        return dict(zip(names, binding.copy_outputs_to_cpu(), strict=True))

    return run


def on_device(tensor: Any) -> Any:
    """A tensor that speaks DLPack as a CuPy array: as it is where the GPU holds it, else copied there."""
    import cupy

    if tensor.__dlpack_device__()[0] == DLPACK_CPU:
        return cupy.asarray(np.from_dlpack(tensor))
    return cupy.from_dlpack(tensor)
