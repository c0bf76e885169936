"""What the models of the Python backend share: parameters from their configuration, errors for one request."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from dataclasses import fields
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from image_check import ImageError, Limits

INVALID = "invalid input: "  # begins every message that is the caller's fault


class Config:
    """A model's `config.pbtxt` as the backend hands it over; parameters are strings there."""

    def __init__(self, args: dict[str, str]) -> None:
        self.model: dict[str, Any] = json.loads(args["model_config"])

    def parameter(self, name: str, default: str) -> str:
        """Value of `parameters { key: name }`; an environment variable FACEWARDEN_NAME goes before it."""
        configured = self.model.get("parameters", {}).get(name, {}).get("string_value", default)
        return os.environ.get(f"FACEWARDEN_{name.upper()}", configured)

    def limits(self) -> Limits:
        """Size limits for one image, from `max_bytes` and `max_pixels`."""
        return Limits(**{f.name: int(self.parameter(f.name, str(f.default))) for f in fields(Limits)})

    def threads(self) -> int:
        """CPU threads for one instance: `threads`, or with 0 the cores shared out among the instances."""
        instances = sum(group.get("count", 1) for group in self.model["instance_group"])
        return int(self.parameter("threads", "0")) or max(1, len(os.sched_getaffinity(0)) // instances)


def failed(exc: Exception) -> pb_utils.InferenceResponse:
    """An answer for one request: the caller's fault in its own words, anything else without the server's insides."""
    if isinstance(exc, ImageError):
        if exc.__cause__:  # what a library said: an operator can tell a broken picture from a broken machine by it
            pb_utils.Logger.log_warn(f"{exc}: {str(exc.__cause__).splitlines()[0]}")
        return pb_utils.InferenceResponse(
            error=pb_utils.TritonError(f"{INVALID}{exc}", pb_utils.TritonError.INVALID_ARG)
        )
    pb_utils.Logger.log_error("".join(traceback.format_exception(exc)).strip())
    return pb_utils.InferenceResponse(
        error=pb_utils.TritonError(
            "the server could not process this image; its log says why", pb_utils.TritonError.INTERNAL
        )
    )


# NumPy 2 moved fields that the stub of Triton 2.51 reads by their place in NumPy 1: its own `as_numpy` then repeats
# the first element. DLPack is independent of both, and copies nothing.


def input_array(request: pb_utils.InferenceRequest, name: str) -> np.ndarray:
    """The named input, read-only."""
    return np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))


def output(name: str, array: np.ndarray) -> pb_utils.Tensor:
    """A tensor to send; what is read-only, as inputs are, is copied first."""
    array = np.require(array, requirements=["C", "W"])
    if not len(array):  # NumPy gives no strides to what is empty, the stub wants them: those of one row
        array = np.empty((1, *array.shape[1:]), array.dtype)[:0]
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    _set_capsule_name(capsule, CONSUMED)
    return tensor


CONSUMED = b"used_dltensor"  # DLPack's name for it; the stub writes another, over which NumPy complains in the log
_set_capsule_name = ctypes.pythonapi.PyCapsule_SetName
_set_capsule_name.argtypes = [ctypes.py_object, ctypes.c_char_p]


def text_output(name: str, text: str) -> pb_utils.Tensor:
    """A BYTES tensor (1, 1) to send: `text` in UTF-8, with blanks behind it."""
    return pb_utils.Tensor(name, np.array([[text.encode()]], np.object_))


def _serialized(tensor: np.ndarray) -> np.ndarray:
    """One string as the stub sends it, in the place of its own function.

    The stub takes an array's size in bytes for the number of its items times what lies where NumPy 1 kept their size.
    NumPy 2 keeps flags there, and an aligned structure's are 144 as a number: so the items are aligned structures of
    144 bytes.
    """
    text = tensor.item()
    length = -(len(text) + 4) % BLOCK.itemsize + len(text)
    return np.frombuffer(length.to_bytes(4, "little") + text.ljust(length), BLOCK)


BLOCK = np.dtype([("bytes", np.uint8, 144)], align=True)
pb_utils.serialize_byte_tensor = _serialized
