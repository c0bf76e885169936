"""Read serving/triton/preprocess.py: what Triton runs for `preprocess`."""

from serving.triton.preprocess import TritonPythonModel

__all__ = ["TritonPythonModel"]
