"""Read serving/triton/image_check.py: what Triton runs for `image_check`."""

from serving.triton.image_check import TritonPythonModel

__all__ = ["TritonPythonModel"]
