"""Tracks, events and the bounded state of a stream, without a server."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from serving.pictures.check import UPRIGHT, PictureLimits, check_image
from serving.streams import answer
from serving.streams.events import Jitter, Lasting, Repeats, Timing
from serving.streams.look import Look, distance, look_at, shift
from serving.streams.people import DecisionSettings
from serving.streams.sprt import Rates, ScoreCalibration
from serving.streams.stream import LookLimits, Score, Stream
from serving.streams.tracks import Tracker

SETTINGS = DecisionSettings(Rates(), ScoreCalibration(1.0, 0.0, 3.0, 0.5, 0.2), change_bound=3.6, jump=4.0)
LIMITS = LookLimits(sharpness=3.0, brightness=0.15, side_px=64.0, jitter=(0.0, 0.1))
LANDMARK = np.array([[0.3, 0.4], [0.5, 0.4], [0.4, 0.5], [0.32, 0.6], [0.48, 0.6]])
FACE, OTHER = (0.3, 0.2, 0.5, 0.6), (0.7, 0.3, 0.8, 0.5)


def found(*boxes, confidence=0.9):
    box = np.array(boxes, float).reshape(-1, 4)
    return box, np.full(len(box), confidence), np.tile(LANDMARK, (len(box), 1, 1))


def look(data: bytes) -> Look:
    return look_at(data, check_image(data, PictureLimits()))


@pytest.fixture
def looks(portrait, encode):
    """Small pictures of a slow pan over the portrait."""
    return [look(encode(portrait.crop((i, 0, 400 + i, 400)), quality=80)) for i in range(0, 80, 2)]


def stream() -> Stream:
    return Stream(SETTINGS, LIMITS, faces=4, detect_every_s=0.2)


def feed(s: Stream, looks, logit=3.0, boxes=(FACE,), fps=10.0, first=0, **quality) -> list[dict]:
    told = []
    for i, look in enumerate(looks, first):
        s.detected(*found(*boxes), i / fps)
        score = Score(**{"logit": logit, "sharpness": 100.0, "brightness": 0.5, "side_px": 200.0, **quality})
        s.count(i, i / fps, look, (480, 640), {t.id: score for t in s.tracker.visible})
        told += s.fresh
    return told


def test_a_face_keeps_its_number_while_it_moves_and_when_it_comes_back():
    tracker = Tracker(4)
    for t in range(10):
        tracker.detected(*found((0.3 + t * 0.02, 0.2, 0.5 + t * 0.02, 0.6)), t / 5)
    tracker.detected(*found(), 2.0)
    assert tracker.subject is None and tracker.uncertain
    tracker.detected(*found((0.48, 0.2, 0.68, 0.6)), 2.4)
    assert [track.id for track in tracker.visible] == [1]
    for time_s in (2.6, 5.0):
        tracker.detected(*found(), time_s)
    tracker.detected(*found((0.48, 0.2, 0.68, 0.6)), 5.2)
    assert [track.id for track in tracker.visible] == [2]


def test_the_subject_is_the_largest_and_longest():
    tracker = Tracker(4)
    for t in range(5):
        tracker.detected(*found(OTHER, *([FACE] if t else [])), t / 5)
    assert np.allclose(tracker.subject.box, FACE)
    assert len(tracker.visible) == 2


def test_a_doubtful_detection_begins_no_track_and_no_more_than_asked_for_are_kept():
    tracker = Tracker(1)
    tracker.detected(*found(FACE, confidence=0.4), 0.0)
    assert not tracker.visible
    tracker.detected(*found(OTHER, FACE), 0.1)
    assert [tuple(track.box) for track in tracker.visible] == [FACE]


@pytest.mark.parametrize("moved", [(6, 0), (-4, 5), (0, 0)])
def test_a_patch_is_followed(portrait, encode, moved):
    before, after = (
        look(encode(portrait.crop((50 + dx, 20 + dy, 450 + dx, 420 + dy)), quality=80)) for dx, dy in ((0, 0), moved)
    )
    shifted, confidence = shift(before, after, np.array([0.3, 0.1, 0.6, 0.4]))
    assert shifted * 400 == pytest.approx([-moved[0], -moved[1]], abs=1.5)
    assert confidence > 0.1


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_look_is_turned_upright_by_exif(portrait, encode, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = portrait.crop((0, 0, 400, 300))
    turned = wide.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else wide
    found, expected = look(encode(wide, exif=exif)).gray, look(encode(turned)).gray
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_the_hash_knows_a_picture_after_compression_and_tells_others_apart(portrait, encode):
    first, again = (look(encode(portrait, quality=q)).hash for q in (95, 30))
    other = look(encode(portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT))).hash
    assert distance(first, again) <= 8 < 60 < distance(first, other)


def test_lasting_tells_once_and_again_only_after_a_pause():
    lasting = Lasting(1.0)
    held = [(0, True), (0.5, True), (1.0, True), (2.0, True), (2.2, False), (2.4, True), (3.0, False), (4.2, False)]
    assert [lasting.update(holds, t) for t, holds in held] == [False, False, True] + [False] * 5
    assert [lasting.update(True, t) for t in (5.0, 6.0)] == [False, True]


def test_frozen_and_looped_pictures_are_told_once(looks):
    repeats = Repeats()
    sequence = looks + [looks[-1]] * 12 + looks[:30]
    told = [(i, name) for i, look in enumerate(sequence) for name, _ in repeats.add(look.hash, i / 10)]
    assert [name for _, name in told] == ["frozen", "looped"]
    assert 40 < told[0][0] <= 50 and told[1][0] > 60


def test_a_pan_repeats_nothing(looks):
    repeats = Repeats()
    assert [repeats.add(look.hash, i / 10) for i, look in enumerate(looks)] == [[]] * len(looks)


@pytest.mark.parametrize(
    ("times", "events"),
    [
        ([0, 0.1, 0.2, 0.3], 0),
        ([0, 0.1, 0.2, 1.9, 2.0], 1),
        ([0, 0.1, 0.1, 0.05, 0.2], 1),
        ([0, 1.0, 2.1, 3.0], 0),
    ],
    ids=["even", "gap", "back", "slow"],
)
def test_odd_frame_times_are_told(times, events):
    timing = Timing()
    assert sum(len(timing.add(t)) for t in times) == events


def test_jitter_is_what_position_size_and_turn_do_not_explain():
    rng, calm, trembling = np.random.default_rng(0), Jitter(), Jitter()
    for i in range(20):
        turn = np.array([[np.cos(i / 9), -np.sin(i / 9)], [np.sin(i / 9), np.cos(i / 9)]])
        points = LANDMARK @ turn * (1 + i / 20) + i
        low = calm.add(points)
        high = trembling.add(points + rng.normal(0, 0.02, points.shape))
    assert low < 1e-6 < 0.05 < high


def test_events_of_a_stream_in_order(looks):
    s = stream()
    told = feed(s, looks[:10]) + feed(s, looks[10:20], boxes=(FACE, OTHER), first=10)
    told += feed(s, looks[20:30], boxes=(), first=20)
    assert answer.state(s) == "no_face"
    told += feed(s, looks[30:40], boxes=(OTHER,), first=60)
    assert [e["event"] for e in told] == [
        "verdict",
        "several_faces",
        "verdict",
        "no_face",
        "timing",
        "new_face",
        "verdict",
    ]
    assert all(e["time_s"] == pytest.approx(e["frame"] / 10) for e in told)
    assert {p["track"]: p["label"] for p in answer.summary(s)["tracks"]} == {1: "fake", 2: "fake", 3: "fake"}


@pytest.mark.parametrize(
    ("quality", "event"),
    [({"brightness": 0.05}, "too_dark"), ({"sharpness": 1.0}, "too_blurred"), ({"side_px": 20.0}, "too_small")],
)
def test_what_cannot_be_judged_is_told_and_not_counted(looks, quality, event):
    s = stream()
    assert [e["event"] for e in feed(s, looks[:20], **quality)] == [event]
    (track,) = answer.summary(s)["tracks"]
    assert (track["frames"], track["poor_frames"], track["label"]) == (0, 20, "review")


def test_a_stream_goes_on_elsewhere_as_if_nothing_had_happened(looks):
    whole, first, second = stream(), stream(), stream()
    feed(whole, looks[:20], logit=0.4, boxes=(FACE, OTHER))
    feed(first, looks[:12], logit=0.4, boxes=(FACE, OTHER))
    answer.restore(second, answer.resume(first))
    feed(second, looks[12:20], logit=0.4, boxes=(FACE, OTHER), first=12)
    assert answer.summary(second)["tracks"] == answer.summary(whole)["tracks"]
    assert (second.frames, second.last_frame) == (20, 19)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"{}", b"\xff", b'{"people": {"a": 1}}', b" " * 40000, b"[" * 30000),
        b'{"people": {}, "tracks": [], "last_frame": 7, "time_s": 1, "frames": 8, "frames_with_face": 8}',
    ],
    ids=["empty", "list", "bare", "bytes", "odd", "long", "deep", "half"],
)
def test_what_was_not_given_out_is_no_state(data):
    s = stream()
    with pytest.raises(ValueError):
        answer.restore(s, data)
    assert (s.last_frame, s.people) == (-1, {}), "nothing of it is taken"


def test_memory_stays_bounded(looks):
    s = stream()
    for i in range(60):  # a new face every time, at another place
        x = 0.8 * (i % 7) / 7
        feed(s, looks[:3], logit=0.1, boxes=((x, 0.1, x + 0.1, 0.3),), first=i * 40)
    assert len(s.people) <= 17 and len(s.tracker.tracks) <= 4 and len(s.jitter) <= 4
    assert len(answer.resume(s)) < 32 * 1024
    assert len(json.dumps(answer.detail(s, True, 1))) < 8 * 1024
