"""What one request is answered where it fails: the others of its batch do not notice."""

from __future__ import annotations

import traceback

import triton_python_backend_utils as pb_utils

from serving.pictures.check import ImageError

INVALID = "invalid input: "  # begins every message that is the caller's fault
CODES = {  # an answer to a call between models has lost its code; these words of its message tell it
    INVALID: "INVALID_ARG",
    "Exceeds maximum queue size": "UNAVAILABLE",
}


class InferenceError(Exception):
    """Another model of this server answered with an error; the message is its own."""


def failed(exc: Exception) -> pb_utils.InferenceResponse:
    """An answer for one request: a caller's fault in its own words, anything else without the server's insides."""
    if isinstance(exc, ImageError):
        if exc.__cause__:  # what a library said: an operator can tell a broken picture from a broken machine by it
            pb_utils.Logger.log_warn(f"{exc}: {str(exc.__cause__).splitlines()[0]}")
        return _error(f"{INVALID}{exc}", "INVALID_ARG")
    if isinstance(exc, InferenceError):
        return _error(str(exc), next((code for words, code in CODES.items() if words in str(exc)), "INTERNAL"))
    pb_utils.Logger.log_error("".join(traceback.format_exception(exc)).strip())
    return _error("the server could not process this image; its log says why", "INTERNAL")


def _error(message: str, code: str) -> pb_utils.InferenceResponse:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
