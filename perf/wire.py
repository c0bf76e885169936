"""How many bytes one request moves: to the server, between its models, and back."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import InferenceServerClient

from facewarden._codec import WHOLE, Asked, Call, face_call, image_call

from . import pictures

FACE_BYTES = 224 * 224 * 3  # uint8 RGB, a quarter of what FP32 would be


@dataclass(frozen=True)
class Moved:
    """Bytes of one request: its input tensors, pictures that models hand on to others for it (computed), the answer."""

    request: int
    between_models: int
    answer: int


def moved(client: InferenceServerClient) -> dict[str, Moved]:
    """Bytes of one face and of one photograph with a face, from real requests."""
    calls: dict[str, Call] = {
        "deepfake_face": face_call(pictures.face(), WHOLE, Asked()),
        "deepfake_image": image_call(pictures.photo(), Asked()),
    }
    steps = client.get_model_config("deepfake_face").config.ensemble_scheduling.step
    decoded = FACE_BYTES if any(step.model_name == "preprocess" for step in steps) else 0
    photo = 2 * len(pictures.photo())  # to the detector, and for its face to `deepfake_face`
    return {
        "deepfake_face": _moved(client, calls["deepfake_face"], decoded),
        "deepfake_image": _moved(client, calls["deepfake_image"], photo + decoded),
    }


def _moved(client: InferenceServerClient, call: Call, between_models: int) -> Moved:
    result = client.infer(**call.arguments)
    request = sum(len(tensor._get_content() or b"") for tensor in call.inputs)
    return Moved(request, between_models, result.get_response().ByteSize())
