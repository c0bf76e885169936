"""Business logic scripting: how a model of the Python backend asks another model of its server."""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils

from .errors import InferenceError
from .tensors import output


async def infer(model: str, outputs: list[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One request to another model of this server; raises InferenceError where it answers with one."""
    return _arrays(await _request(model, outputs, inputs).async_exec())


def infer_blocking(model: str, outputs: list[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same, and this thread waits: without an event loop a request costs half of the CPU time."""
    return _arrays(_request(model, outputs, inputs).exec())


def _request(model: str, outputs: list[str], inputs: dict[str, np.ndarray]) -> pb_utils.InferenceRequest:
    tensors = [output(name, array) for name, array in inputs.items()]
    return pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=tensors)


def _arrays(response: pb_utils.InferenceResponse) -> dict[str, np.ndarray]:
    if response.has_error():
        raise InferenceError(response.error().message())
    return {tensor.name(): np.from_dlpack(tensor) for tensor in response.output_tensors()}
