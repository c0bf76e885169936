"""A TensorRT plan, executed through torch's CUDA memory: for the gate and for measurement, not for serving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from reports.machine import gpu

from .onnx_to_engine import EngineError, builder_library, check_plan


class Engine:
    """FACE (B, 224, 224, 3) uint8 -> outputs by name; B within the plan's profile. Raises EngineError.

    Execution contexts do not allocate (USER_MANAGED): all contexts of an engine may be given the same `scratch`, as
    long as only one of them runs at a time.
    """

    def __init__(self, plan: Path) -> None:
        trt = builder_library()
        check_plan(plan, trt.__version__, gpu())
        self.types = {trt.float32: torch.float32, trt.int32: torch.int32, trt.uint8: torch.uint8}
        logger = trt.Logger(trt.Logger.WARNING)
        self.runtime = trt.Runtime(logger)  # an engine must not outlive it
        self.engine = self.runtime.deserialize_cuda_engine(plan.read_bytes())
        if self.engine is None:
            raise EngineError(f"TensorRT {trt.__version__} refuses {plan}; its log above says why")
        self.scratch = torch.empty(self.engine.device_memory_size_v2, dtype=torch.uint8, device="cuda")
        self.context = self.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self.context.set_device_memory(self.scratch.data_ptr(), self.scratch.numel())
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        self.outputs = [n for n in names if self.engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]

    def execute(self, faces: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same on the GPU: enqueues on the current stream and returns before it is done."""
        if not self.context.set_input_shape("FACE", tuple(faces.shape)):
            raise EngineError(f"the plan's profile has no batch of {len(faces)}")
        self.context.set_tensor_address("FACE", faces.data_ptr())
        answers = {}
        for name in self.outputs:
            kind = self.types[self.engine.get_tensor_dtype(name)]
            answers[name] = torch.empty(tuple(self.context.get_tensor_shape(name)), dtype=kind, device="cuda")
            self.context.set_tensor_address(name, answers[name].data_ptr())
        if not self.context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise EngineError("TensorRT could not enqueue; its log above says why")
        return answers

    def __call__(self, faces: np.ndarray) -> dict[str, np.ndarray]:
        answers = self.execute(torch.from_numpy(faces).cuda())
        return {name: value.cpu().numpy() for name, value in answers.items()}
