"""Tensors of a request -> NumPy arrays, and back. With NumPy 2 the stub of Triton 2.51 cannot send texts: its function
for them is replaced here.
"""

from __future__ import annotations

import ctypes

import numpy as np
import triton_python_backend_utils as pb_utils

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
