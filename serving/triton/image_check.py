"""The check before a DALI backend, which fails a whole batch for one bad image: IMAGE and ROI in, the same ROI out.

Only the ROI is passed on, so that the bytes are not copied once more: the next step waits for it all the same.
"""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

from serving.pictures.check import check_all

from .config import Config
from .errors import failed
from .tensors import input_array, output


class TritonPythonModel:
    """IMAGE (1, L) uint8 encoded and ROI (1, 4) -> CHECKED_ROI (1, 4), or INVALID_ARGUMENT for this request alone."""

    def initialize(self, args: dict[str, str]) -> None:
        self.limits = Config(args).limits()

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        try:
            rois = input_array(request, "ROI")
            check_all(input_array(request, "IMAGE"), rois, self.limits)
            return pb_utils.InferenceResponse([output("CHECKED_ROI", rois)])
        except Exception as exc:  # one request's fault must not become its batch's
            return failed(exc)
