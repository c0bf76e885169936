"""How many bytes one request moves: to the server, between its models, and back."""

from __future__ import annotations

from dataclasses import dataclass

from tritonclient.grpc import InferenceServerClient

from facewarden._codec import WHOLE, Asked, Call, face_call, image_call

from . import pictures

FACE_BYTES = 224 * 224 * 3  # uint8 RGB, a quarter of what FP32 would be


@dataclass(frozen=True)
class Moved:
    """Bytes of one request: its input tensors, what goes from `preprocess` to `classifier`, the answer."""

    request: int
    between_models: int
    answer: int


def moved(client: InferenceServerClient) -> dict[str, Moved]:
    """Bytes of one face and of one photograph with a face, from real requests."""
    calls: dict[str, Call] = {
        "deepfake_face": face_call(pictures.face(), WHOLE, Asked()),
        "deepfake_image": image_call(pictures.photo(), Asked()),
    }
    return {name: _moved(client, call) for name, call in calls.items()}


def _moved(client: InferenceServerClient, call: Call) -> Moved:
    result = client.infer(**call.arguments)
    request = sum(len(tensor._get_content() or b"") for tensor in call.inputs)
    between = FACE_BYTES if client.is_model_ready("preprocess") else 0
    return Moved(request, between, result.get_response().ByteSize())
