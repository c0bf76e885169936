"""Answers about a stream: each frame, the events, and the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ._errors import FacewardenError
from ._verdict import Box, Quality

StreamLabel: TypeAlias = Literal["collecting", "real", "fake", "review", "no_face"]
STATES: tuple[StreamLabel, ...] = get_args(StreamLabel)  # STATE on the wire is the index, 0 to 4


@dataclass(frozen=True)
class Event:
    """Something that happened: ``event`` names it, ``evidence`` holds its numbers. docs/video.md lists all events."""

    event: str  # "verdict", "swap", "no_face", "new_face", "several_faces", "frozen", "looped", ...
    frame: int
    time_s: float
    track: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """One line of ``facewarden watch --json``."""
        place = {"type": "event", "event": self.event, "frame": self.frame, "time_s": self.time_s, "track": self.track}
        return {**place, **self.evidence}


@dataclass(frozen=True)
class StreamFace:
    """One person on one frame."""

    track: int
    box: Box  # pixels of the upright frame
    label: StreamLabel  # of this person so far
    fake_probability: float  # of this person so far
    frame_probability: float | None = None  # of this frame alone, with even odds before; None: not judged
    quality: Quality | None = None
    poor: tuple[str, ...] = ()  # why this frame says too little to count: too_dark, too_blurred, too_small

    def to_json(self) -> dict[str, Any]:
        """As in a frame's line."""
        quality = None if self.quality is None else self.quality.to_json()
        return {**vars(self), "box": list(self.box), "quality": quality, "poor": list(self.poor)}


@dataclass(frozen=True)
class Track:
    """The verdict about one person of a stream."""

    track: int
    label: StreamLabel
    fake_probability: float
    subject: bool  # whether the stream was about this person at some time
    frames: int  # that were counted
    poor_frames: int  # too dark, blurred or small to count
    first_s: float | None
    last_s: float
    decided_s: float | None  # time of the first decision; None: undecided
    decided_frames: int | None  # how many frames that decision took

    def to_json(self) -> dict[str, Any]:
        """As in the summary's line."""
        return dict(vars(self))


@dataclass(frozen=True)
class Summary:
    """The verdict of a whole stream."""

    label: StreamLabel | None = None  # None: no frame was answered
    fake_probability: float | None = None  # of the track that gave the label
    frames: int = 0  # counted by the server
    frames_with_face: int = 0
    failed: int = 0
    dropped: int = 0
    tracks: tuple[Track, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)  # how many of each
    model_version: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The last line of ``facewarden watch --json``, without its path and error, which only the command knows."""
        plain = {**vars(self), "tracks": [track.to_json() for track in self.tracks], "events": dict(self.events)}
        return {"type": "summary", **plain}


@dataclass(frozen=True)
class FrameVerdict:
    """The verdict of the stream up to this frame, and what this frame showed."""

    frame: int  # its number from 0; dropped frames have numbers too
    time_s: float  # in the video; where you give images, since the first of them
    label: StreamLabel | None  # of the person whom the stream is about; None while no frame has been answered
    fake_probability: float | None  # of that person so far, 0.5 without evidence; None without a person
    so_far: Summary
    faces: tuple[StreamFace, ...] = ()  # of this frame, the subject first
    events: tuple[Event, ...] = ()
    image: bytes = field(default=b"", repr=False, compare=False)  # the frame as it was sent
    heatmap: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)  # (14, 14) of the first face
    latency_ms: float = 0.0
    error: FacewardenError | None = None  # this frame was not judged; the stream goes on

    def to_json(self) -> dict[str, Any]:
        """One line of ``facewarden watch --json``."""
        position = {"type": "frame", "frame": self.frame, "time_s": round(self.time_s, 3)}
        probability = None if self.fake_probability is None else round(self.fake_probability, 6)
        running = {"label": self.label, "fake_probability": probability}
        rest = {"latency_ms": round(self.latency_ms, 2), "error": None if self.error is None else str(self.error)}
        return {**position, **running, "faces": [face.to_json() for face in self.faces], **rest}
