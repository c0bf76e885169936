"""Real clips through the real server: what is told, what is counted, and what a restart changes (nothing)."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from demo import clips as video_clips
from facewarden import AsyncClient, Client, FrameVerdict, VideoError
from facewarden._session import Session
from facewarden.cli import main as facewarden

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
av = pytest.importorskip("av")
FPS = 12.5  # half of the usual: half of the work


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def client(server: Any) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def told(frames: list[FrameVerdict]) -> list[str]:
    return [event.event for frame in frames for event in frame.events]


@pytest.mark.parametrize(("crf", "within_s"), [(18, 1.0), (23, 2.0)])  # compression hides what the classifier sees
def test_a_swap_in_the_middle_is_told(client: Client, folder: Path, crf: int, within_s: float) -> None:
    path = video_clips.write(folder / f"swap{crf}.mp4", video_clips.swapped(75), FPS, crf)
    frames = list(client.watch(path, heatmap=True))
    assert [frame.frame for frame in frames] == list(range(75)) and not any(frame.error for frame in frames)
    (swap,) = [event for frame in frames for event in frame.events if event.event == "swap"]
    assert 37 / FPS <= swap.time_s <= 38 / FPS + within_s and swap.evidence["after"] == "fake"
    assert frames[-1].label == "fake" == frames[-1].so_far.label
    assert frames[-1].so_far.frames == 75 and {face.track for face in frames[-1].faces} == {1}
    assert all(frame.heatmap is not None and frame.heatmap.shape == (14, 14) for frame in frames)


def test_an_untouched_clip_raises_no_alarm(client: Client, folder: Path) -> None:
    frames = list(client.watch(video_clips.write(folder / "real.mp4", video_clips.genuine(60, 4), FPS)))
    assert set(told(frames)) <= {"verdict"}
    assert frames[-1].so_far.label in ("real", "review")


def test_a_story_is_told_in_order(client: Client, folder: Path) -> None:
    still = video_clips.genuine(1, 1) * 15
    story = [*video_clips.genuine(20, 1), *still, *video_clips.black(15), *video_clips.two_people(30, 2)]
    frames = list(client.watch(video_clips.write(folder / "story.mp4", story, FPS)))
    names = [name for name in told(frames) if name in ("frozen", "no_face", "several_faces")]
    assert names[:2] == ["frozen", "no_face"] and "several_faces" in names
    assert frames[48].label == "no_face" and frames[-1].label != "no_face"
    assert len(frames[-1].so_far.tracks) >= 2


def test_a_loop_is_told(client: Client, folder: Path) -> None:
    loop = video_clips.genuine(25, 5)
    frames = list(client.watch(video_clips.write(folder / "loop.mp4", loop * 2, FPS)))
    (looped,) = [event for frame in frames for event in frame.events if event.event == "looped"]
    assert looped.evidence["seconds_ago"] == pytest.approx(25 / FPS, abs=0.2)


def test_times_of_a_variable_frame_rate_are_kept(client: Client, folder: Path) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 2.0, 2.1]
    path = video_clips.write(folder / "variable.mkv", video_clips.genuine(6), times_s=times)
    frames = list(client.watch(path))
    assert [frame.time_s for frame in frames] == pytest.approx(times, abs=2e-3)
    assert [event.frame for frame in frames for event in frame.events if event.event == "timing"] == [4]


def test_corrupt_packets_cost_their_frames_only(client: Client, folder: Path) -> None:
    path = Path(video_clips.write(folder / "corrupt.ts", video_clips.genuine(30), FPS))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    for packet in range(middle, middle + 188 * 20, 188):
        data[packet + 8 : packet + 180] = bytes(172)
    path.write_bytes(data)
    frames = list(client.watch(path))
    assert 10 <= len(frames) <= 30 and not any(frame.error for frame in frames)


def test_a_truncated_file_gives_what_it_holds(client: Client, folder: Path) -> None:
    path = Path(video_clips.write(folder / "cut.mkv", video_clips.genuine(30), FPS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = []
    try:
        frames += client.watch(path)
    except VideoError as exc:
        assert str(exc).endswith(".")
    assert len(frames) < 30


def test_a_file_without_pictures_is_refused(client: Client, folder: Path) -> None:
    with av.open(str(folder / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(VideoError, match="no video"):
        next(client.watch(folder / "sound.wav"))


def test_arrays_bytes_and_the_asynchronous_twin_agree(client: Client, server: Any) -> None:
    arrays = video_clips.genuine(8)
    frames = list(client.watch(arrays, fps=10))
    again = list(client.watch([frame.image for frame in frames], fps=10))

    async def twin() -> list[FrameVerdict]:
        async with AsyncClient(server.url) as asynchronous:
            return [frame async for frame in asynchronous.watch(arrays, fps=10, drop="oldest", window=99)]

    probabilities = [
        [frame.faces[0].frame_probability for frame in run] for run in (frames, again, asyncio.run(twin()))
    ]
    assert probabilities[0] == probabilities[1] == probabilities[2]


def test_large_frames_are_scaled_before_they_are_sent(client: Client) -> None:
    large = np.zeros((1080, 1920, 3), np.uint8)
    (frame,) = client.watch([large])
    with av.open(io.BytesIO(frame.image)) as container:
        sent = next(container.decode(video=0))
    assert (sent.width, sent.height) == (1280, 720)


def test_a_forgotten_stream_goes_on_and_no_frame_counts_twice(client: Client) -> None:
    """Every third answer is lost, every fourth time the server forgets the stream in between."""
    session, pictures = Session(), [frame.image for frame in client.watch(video_clips.genuine(12), fps=10)]
    verdict = None
    for i, picture in enumerate(pictures):
        request = session.request(i, i / 10, picture)
        if i % 3 == 2:  # the server counts it, but the client never learns; it sends it again
            client._send("infer", client._call(), **request.arguments())
            assert request.retry is not None
            request = replace(request.retry, read=request.read)
        if i % 4 == 3:
            end = session.end()
            assert end is not None
            client._send("infer", client._call(), **end.arguments())
        verdict = client._infer(request, client._call())
    assert verdict is not None and verdict.so_far.frames == 12 and verdict.so_far.tracks[0].frames == 12


def test_a_frame_that_was_counted_is_answered_and_not_counted(client: Client, portrait_jpeg: bytes) -> None:
    session = Session()
    first = client._infer(session.request(0, 0.0, portrait_jpeg), client._call())
    request = session.request(0, 0.0, portrait_jpeg)
    detail: Any = client._infer(
        replace(request, read=lambda answer, _: json.loads(answer("DETAIL").item())), client._call()
    )
    assert (detail["counted"], detail["summary"]["frames"]) == (False, first.so_far.frames)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_streams_survive_a_server_that_goes(new_options: Any, folder: Path, killed: bool) -> None:
    from serving.supervisor.server import Server

    clips = [video_clips.genuine(12, seed) for seed in range(3)]
    with Server(new_options(stop_timeout_s=3)) as own, Client(own.url, retries=400, timeout_s=240) as client:
        half, counts = threading.Barrier(4), []

        def watch(pictures: list[Any]) -> None:
            for i, frame in enumerate(client.watch(pictures, fps=5)):
                if i == 5:
                    half.wait(120)
                last = frame.so_far
            counts.append((last.frames, last.failed, last.label))

        threads = [threading.Thread(target=watch, args=(pictures,)) for pictures in clips]
        for thread in threads:
            thread.start()
        half.wait(120)
        if killed:
            os.kill(own.pid, signal.SIGKILL)
        own.stop()
        own.start()
        own.wait_ready()
        for thread in threads:
            thread.join(240)
    assert [(frames, failed) for frames, failed, _ in counts] == [(12, 0)] * 3
    assert {label for *_, label in counts} <= {"real", "review"}


def test_two_hundred_streams_at_once_stay_apart(server: Any, portrait: Image.Image, encode: Any) -> None:
    """Every fifth shows a face; each is counted once and told what it shows itself."""
    face, nobody = encode(portrait.crop((140, 20, 300, 180))), encode(Image.new("RGB", (64, 64), (90, 110, 130)))

    async def all_of_them() -> list[FrameVerdict]:
        async def watch(client: AsyncClient, stream: int) -> FrameVerdict:
            async for frame in client.watch([nobody if stream % 5 else face] * 3, fps=1):
                last = frame
            return last

        async with AsyncClient(server.url, timeout_s=240) as client:
            return await asyncio.gather(*(watch(client, i) for i in range(200)))

    last = asyncio.run(all_of_them())
    assert [(frame.so_far.frames, frame.so_far.failed) for frame in last] == [(3, 0)] * 200
    assert [i for i, frame in enumerate(last) if frame.faces] == list(range(0, 200, 5))


def test_idle_streams_are_forgotten(new_options: Any, tmp_path: Path, encode: Any) -> None:
    """500 of them, by the model's own clock; the next request of one says what to do, and the client does it."""
    from serving.supervisor.server import Server

    models = Path(shutil.copytree(REPOSITORY, tmp_path / "model_repository"))
    file = models / "deepfake_video" / "config.pbtxt"
    text = file.read_text()
    for former, short in SHORT_LIVES.items():
        assert former in text
        text = text.replace(former, short)
    file.write_text(text)
    nobody = encode(Image.new("RGB", (64, 64), (90, 110, 130)))
    options = new_options(model_repository=models)
    with Server(options) as own, Client(own.url, timeout_s=60) as client:
        sessions = [Session() for _ in range(500)]
        for session in sessions:
            client._infer(session.request(0, 0.0, nobody), client._call())
        deadline = time.monotonic() + 120
        while forgotten(options.log) < 500:  # any request lets the model look at its clock
            assert time.monotonic() < deadline, f"{forgotten(options.log)} of 500 were forgotten"
            list(client.watch([nobody]))
            time.sleep(0.5)
        verdict = client._infer(sessions[0].request(1, 1.0, nobody), client._call())
    assert verdict.so_far.frames == 2


SHORT_LIVES = {"idle_microseconds: 60000000": "idle_microseconds: 1000000", 'string_value: "65"': 'string_value: "2"'}


def forgotten(log: Path) -> int:
    """How many streams the model's log says that it forgot."""
    return sum(int(n) for n in re.findall(r"idle streams forgotten: (\d+)", log.read_text()))


def test_the_report_holds_everything_in_one_file(server: Any, folder: Path, capsys: Any) -> None:
    video = video_clips.write(folder / "short.mp4", video_clips.swapped(25), FPS)
    page = folder / "report.html"
    assert facewarden(["watch", video, "--report", str(page), "--url", server.url]) == 0
    assert "track" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 4, "one of each half second"
    assert 'class="heat"' in text and "short.mp4" in text
    assert "http://" not in text.replace("http://www.w3.org", "") and "https://" not in text and "$" not in text
