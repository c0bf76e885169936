"""Business logic scripting: how a model of the Python backend asks another model of its server."""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils

from python_host import INVALID

CODES = {  # an answer to a BLS request has lost its code; these words of its message tell it
    INVALID: "INVALID_ARG",
    "Exceeds maximum queue size": "UNAVAILABLE",
}


class InferenceError(Exception):
    """A composing model's answer was an error."""


async def infer(model: str, outputs: list[str], inputs: list) -> dict[str, np.ndarray]:
    """One request to another model of this server; raises InferenceError where it answers with one."""
    return _rows(await _request(model, outputs, inputs).async_exec())


def infer_here(model: str, outputs: list[str], inputs: list) -> dict[str, np.ndarray]:
    """The same, and this thread waits: without an event loop a request costs half of the CPU time."""
    return _rows(_request(model, outputs, inputs).exec())


def _request(model: str, outputs: list[str], inputs: list) -> pb_utils.InferenceRequest:
    return pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=inputs)


def _rows(response: pb_utils.InferenceResponse) -> dict[str, np.ndarray]:
    if response.has_error():
        raise InferenceError(response.error().message())
    return {tensor.name(): np.from_dlpack(tensor) for tensor in response.output_tensors()}


def passed_on(exc: InferenceError) -> pb_utils.InferenceResponse:
    """The answer for one request: what the other model said, with the code that belongs to it."""
    code = next((code for words, code in CODES.items() if words in str(exc)), "INTERNAL")
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(exc), getattr(pb_utils.TritonError, code)))
