"""Tells whether the faces in a picture or a stream are genuine or synthetic, by asking a Facewarden server."""

from ._async_client import AsyncClient
from ._client import Client
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

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "AsyncClient",
    "Canary",
    "Client",
    "ClosedError",
    "DeadlineError",
    "Event",
    "Face",
    "FaceVerdict",
    "FacewardenError",
    "FrameVerdict",
    "Image",
    "ImageError",
    "ModelStatus",
    "OverloadedError",
    "Quality",
    "ServerError",
    "Status",
    "StreamFace",
    "Summary",
    "Threshold",
    "Track",
    "UnavailableError",
    "Verdict",
    "VideoError",
    "__version__",
]
