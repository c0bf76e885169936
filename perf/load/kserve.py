"""What the client asks `deepfake_face` over gRPC, as one body of KServe's HTTP protocol with tensors in binary."""

from __future__ import annotations

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from facewarden.wire import FACE_OUTPUTS, PRIORITIES, WHOLE_PICTURE, Priority

HEADER_BYTES = "Inference-Header-Content-Length"  # of request and answer: where JSON ends and tensors begin


def infer_body(picture: bytes, priority: Priority) -> tuple[bytes, int]:
    """The body that asks `deepfake_face` what the client asks it; and how many bytes of it are its JSON header."""
    image, roi = InferInput("IMAGE", [1, len(picture)], "UINT8"), InferInput("ROI", [1, 4], "FP32")
    image.set_data_from_numpy(np.frombuffer(picture, np.uint8)[None])
    roi.set_data_from_numpy(np.array([WHOLE_PICTURE], np.float32))
    outputs = [InferRequestedOutput(name) for name in FACE_OUTPUTS]
    return InferenceServerClient.generate_request_body([image, roi], outputs, priority=PRIORITIES[priority])
