"""How many bytes one request moves: to the server, between its models, and back."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import InferenceServerClient

from facewarden.wire import WHOLE_PICTURE, Request, RequestOptions, face_request, image_request

from ..load import pictures

FACE_BYTES = 224 * 224 * 3  # uint8 RGB, a quarter of what FP32 would be


@dataclass(frozen=True)
class Moved:
    """Bytes of one request: its input tensors, pictures that models hand on to others for it (computed), the answer."""

    request: int
    between_models: int
    answer: int


def moved(client: InferenceServerClient) -> dict[str, Moved]:
    """Bytes of one face and of one photograph with a face, from real requests."""
    calls: dict[str, Request] = {
        "deepfake_face": face_request(pictures.face(), WHOLE_PICTURE, RequestOptions()),
        "deepfake_image": image_request(pictures.photo(), RequestOptions()),
    }
    steps = client.get_model_config("deepfake_face").config.ensemble_scheduling.step
    decoded = FACE_BYTES if any(step.model_name == "preprocess" for step in steps) else 0
    photo = 2 * len(pictures.photo())  # to the detector, and for its face to `deepfake_face`
    return {
        "deepfake_face": _moved(client, calls["deepfake_face"], decoded),
        "deepfake_image": _moved(client, calls["deepfake_image"], photo + decoded),
    }


def _moved(client: InferenceServerClient, call: Request, between_models: int) -> Moved:
    result = client.infer(**call.arguments())
    request = sum(array.nbytes for array in call.inputs.values())
    return Moved(request, between_models, result.get_response().ByteSize())
