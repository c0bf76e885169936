"""The state of a stream -> what its caller is told, and what it is handed to go on elsewhere."""

from __future__ import annotations

import json
import math
from collections import Counter, deque
from dataclasses import asdict
from typing import Any

import numpy as np

from .cusum import Cusum
from .people import COLLECTING, FAKE, NO_FACE, REVIEW, SCORE_MEMORY, Person
from .sprt import Evidence
from .stream import Score, Stream
from .tracks import TrackedFace

MAX_RESUME_BYTES = 32 * 1024
PLAIN = ("last_frame", "time_s", "frames", "frames_with_face", "subject_id")  # of Stream, as they are


def state(stream: Stream) -> str:
    """The running verdict: of the subject in sight, or of the last one for as long as a face may be missing."""
    if stream.subject_id is None or (stream.tracker.subject is None and "no_face" in told_now(stream)):
        return NO_FACE
    person = stream.people.get(stream.subject_id)
    return person.label if person else COLLECTING


def told_now(stream: Stream) -> set[str]:
    """Conditions that hold now."""
    return {name for name, lasting in stream.lasting.items() if lasting.told}


def probability(stream: Stream, person: Person | None) -> float:
    """Of fake, given all frames since the last change, fake and real being equally likely before."""
    return sigmoid(person.ratio(stream.settings)) if person else 0.5


def sigmoid(ratio: float) -> float:
    """Log odds -> probability."""
    return 1 / (1 + math.exp(-ratio))


def detail(stream: Stream, counted: bool, model_version: int | None) -> dict[str, Any]:
    """Everything about the newest frame and the stream so far, for DETAIL."""
    faces = [_face(stream, track) for track in stream.tracker.visible if track.id in stream.people]
    return {"counted": counted, "faces": faces, "summary": summary(stream) | {"model_version": model_version}}


def summary(stream: Stream) -> dict[str, Any]:
    """The stream so far. Its label is fake if whoever was its subject was fake at any time, else that of the person
    who was seen most; `review` where the evidence does not reach.
    """
    subjects = {i: person for i, person in stream.people.items() if person.was_subject}
    label: str = NO_FACE
    value: float | None = None
    if subjects:
        worst = max(subjects.values(), key=lambda p: (p.peak, p.frames))
        label = REVIEW if worst.verdict == COLLECTING else worst.verdict
        value = sigmoid(worst.peak) if worst.verdict == FAKE else probability(stream, worst)
    return {
        "label": label,
        "fake_probability": None if value is None else round(value, 6),
        "frames": stream.frames,
        "frames_with_face": stream.frames_with_face,
        "tracks": [_track(stream, i, person) for i, person in sorted(stream.people.items())],
        "events": dict(stream.told),
    }


def _track(stream: Stream, track: int, person: Person) -> dict[str, Any]:
    label = REVIEW if person.verdict == COLLECTING else person.verdict
    value = sigmoid(person.peak) if person.verdict == FAKE else probability(stream, person)
    return {
        "track": track,
        "label": label,
        "fake_probability": round(value, 6),
        "subject": person.was_subject,
        "frames": person.frames,
        "poor_frames": person.poor_frames,
        "first_s": None if person.first_s is None else round(person.first_s, 3),
        "last_s": round(person.last_s, 3),
        "decided_s": None if person.decided_s is None else round(person.decided_s, 3),
        "decided_frames": person.decided_frames,
    }


def _face(stream: Stream, track: TrackedFace) -> dict[str, Any]:
    height, width = stream.picture
    person, score = stream.people[track.id], stream.shown.get(track.id)
    known = {
        "track": track.id,
        "box": [round(float(v), 2) for v in track.box * [width, height, width, height]],
        "state": person.label,
        "fake_probability": round(probability(stream, person), 6),
    }
    return known | (_score(stream, score) if score else {})


def _score(stream: Stream, score: Score) -> dict[str, Any]:
    """Of this frame alone; its probability is the calibrated one, classes alike."""
    return {
        "frame_probability": round(sigmoid(float(stream.settings.calibration.ratio(score.logit))), 6),
        "quality": {
            "sharpness": round(score.sharpness, 3),
            "brightness": round(score.brightness, 4),
            "side_px": round(score.side_px, 2),
        },
        "poor": stream.poor(score),
    }


def resume(stream: Stream) -> bytes:
    """What a stream needs to go on after its state was lost: about 1 KB. Repeats, timing and jitter begin anew."""
    people = {str(i): asdict(person) | {"scores": list(person.scores)} for i, person in stream.people.items()}
    tracks = [asdict(track) | {"box": track.box.tolist(), "landmark": None} for track in stream.tracker.tracks]
    kept = {name: getattr(stream, name) for name in PLAIN}
    kept |= {"next_id": stream.tracker.next_id, "told": dict(stream.told), "people": people, "tracks": tracks}
    return json.dumps(kept, separators=(",", ":"), default=float).encode()


def restore(stream: Stream, data: bytes) -> None:
    """Puts a new stream where the one that gave out `data` was; ValueError where it was none of ours."""
    if len(data) > MAX_RESUME_BYTES:
        raise ValueError(f"{len(data)} bytes are too many")
    try:
        kept = json.loads(data)
        people = {int(i): _person(fields) for i, fields in kept["people"].items()}
        tracks = [
            TrackedFace(**fields | {"box": np.array(fields["box"], float).reshape(4)}) for fields in kept["tracks"]
        ]
        plain = {name: kept[name] for name in PLAIN}
        next_id, told = int(kept["next_id"]), Counter(kept["told"])
    except (KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ValueError("its fields are not those of a stream") from exc
    for name, value in plain.items():
        setattr(stream, name, value)
    stream.people, stream.told = people, told
    stream.tracker.tracks, stream.tracker.next_id = tracks, next_id


def _person(fields: dict[str, Any]) -> Person:
    def cusum(kept: dict[str, Any]) -> Cusum:
        return Cusum(**kept | {"stretch": kept["stretch"] and Evidence(**kept["stretch"])})

    known = {"evidence": Evidence(**fields["evidence"]), "to_fake": cusum(fields["to_fake"])}
    known |= {"to_real": cusum(fields["to_real"]), "scores": deque(fields["scores"], SCORE_MEMORY)}
    return Person(**fields | known)
