"""The backend `facewarden`: hosts a version of the classifier, whose folder holds data alone.

Triton calls this a Python-based backend: github.com/triton-inference-server/backend, docs/python_based_backends.md.
"""

from serving.triton.classifier import TritonPythonModel

__all__ = ["TritonPythonModel"]
