"""Tells whether the faces in a picture or a stream are genuine or synthetic, by asking a Facewarden server."""

import importlib
import typing

from ._errors import (
    AccessError,
    ClosedError,
    DeadlineError,
    FacewardenError,
    ImageError,
    OverloadedError,
    ServerError,
    UnavailableError,
    VideoError,
)
from ._image import Image
from ._status import Canary, ModelStatus, Status
from ._stream import Event, FrameVerdict, StreamFace, Summary, Track
from ._verdict import Face, FaceVerdict, Quality, Threshold, Verdict

if typing.TYPE_CHECKING:
    from ._async_client import AsyncClient
    from ._client import Client

__version__ = "0.1.0"

__all__ = [
    "AccessError", "AsyncClient", "Canary", "Client", "ClosedError", "DeadlineError", "Event", "Face", "FaceVerdict",
    "FacewardenError", "FrameVerdict", "Image", "ImageError", "ModelStatus", "OverloadedError", "Quality",
    "ServerError", "Status", "StreamFace", "Summary", "Threshold", "Track", "UnavailableError", "Verdict",
    "VideoError", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> typing.Any:
    """Import a client when it is first asked for: gRPC costs time and memory, and users of ``wire`` need none of it."""
    if name not in ("AsyncClient", "Client"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module("._client" if name == "Client" else "._async_client", __name__)
    globals()[name] = client = getattr(module, name)
    return client
