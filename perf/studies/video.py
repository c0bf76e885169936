"""The bars of `deepfake_video` on this machine: speed, memory, restart, swaps found, false alarms.

Completes perf/results/video.json and video.md, each part with what it was measured on. Client, encoder and server share
the machine's cores. A frame's latency counts from the moment at which it is due, so a stream that falls behind shows.
Clips are made of the demo's portrait where no others are given; all is seeded.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import psutil
from PIL import Image
from tqdm import tqdm

from demo import clips
from demo.clips import Subject, jpegs
from facewarden import AsyncClient, Client
from perf import LATEST
from reports.tables import markdown, measured_on
from serving.faces.boxes import iou
from serving.paths import CACHE
from serving.settings import command_line
from serving.supervisor.server import Server

from ..server import own_server

RESULTS = LATEST.parent
Part = Literal["speed", "memory", "slow", "following", "swaps", "restart"]
Found = dict[str, Any]
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
OPEN_STREAMS = 500
CLIPS = 10  # of each compression; a swap takes as many frames at any speed of the machine
NOTED = ("machine", "classifier", "commit", "date", "load_before")
PATIENT = "--backend-config=python,stub-timeout-seconds=300"  # a busy machine needs more than the 30 s of Triton


async def paced(frames: list[bytes], fps: float, due: list[float], wait_s: float) -> AsyncIterator[bytes]:
    """Frames at their times, late ones at once, the first after `wait_s`."""
    begin_s = time.perf_counter() + wait_s
    for i, frame in enumerate(frames):
        due.append(begin_s + i / fps)
        await asyncio.sleep(max(0.0, due[-1] - time.perf_counter()))
        yield frame


async def watch(
    client: AsyncClient, frames: list[bytes], fps: float, wait_s: float = 0.0
) -> tuple[list[float], int, int]:
    """Seconds from due to answered, frames counted, frames failed."""
    due: list[float] = []
    late, last = [], None
    async for frame in client.watch(paced(frames, fps, due, wait_s), fps=fps):
        late.append(time.perf_counter() - due[frame.frame])
        last = frame.so_far
    return late, last.frames, last.failed


async def load(url: str, streams: int, fps: float, seconds: float, warm_up: bool = True) -> Found:
    """`streams` streams at `fps` each, evenly staggered: cameras do not tick together."""
    pictures = jpegs(clips.genuine(min(int(fps * seconds), 150)))
    frames = (pictures * (int(fps * seconds) // len(pictures) + 1))[: int(fps * seconds)]
    async with AsyncClient(url) as client:
        if warm_up:
            await watch(client, frames[:10], fps)
        found = await asyncio.gather(*(watch(client, frames, fps, i / streams / fps) for i in range(streams)))
    late = np.array([value for one, *_ in found for value in one]) * 1e3
    return {
        "streams": streams,
        "fps": fps,
        "frames": len(late),
        "counted": sum(counted for _, counted, _ in found),
        "failed": sum(failed for *_, failed in found),
        "p50_ms": round(float(np.percentile(late, 50)), 1),
        "p95_ms": round(float(np.percentile(late, 95)), 1),
    }


def speed(server: Server) -> Found:
    """One stream at 25 frames/s, four at 5, for 12 s each."""
    return {f"{n} at {fps} fps": asyncio.run(load(server.url, n, fps, 12)) for n, fps in ((1, 25), (4, 5))}


def slow(server: Server) -> Found:
    """200 concurrent streams at one frame in five seconds each, and at one frame a second; every frame counted once?"""
    return {f"200 at {fps} fps": asyncio.run(load(server.url, 200, fps, 3 / fps, False)) for fps in (0.2, 1)}


def memory(server: Server) -> Found:
    """Memory of the model's process before and after 500 streams of two frames that were left open."""
    process = psutil.Process(next(stub.pid for stub in server.stubs() if stub.model == "deepfake_video"))
    pictures = jpegs(clips.genuine(8))
    with Client(server.url) as client:
        list(client.watch(pictures, fps=5))
        before = process.memory_info().rss / 1024
        streams = [client.watch(pictures, fps=5) for _ in range(OPEN_STREAMS)]
        for stream in streams:
            next(stream)
            next(stream)
        after = process.memory_info().rss / 1024
    kb_per_stream = round((after - before) / OPEN_STREAMS, 1)
    return {"streams": OPEN_STREAMS, "kb_per_stream": kb_per_stream, "process_mb": round(after / 1024, 1)}


def swaps(server: Server) -> Found:
    """Ten cameras over the demo's portrait."""
    with Client(server.url) as client:
        return swaps_found(client, [clips.demo_subject()] * CLIPS)


def other_swaps(server: Server, photographs: Path) -> Found:
    """One camera over each photograph of a folder."""
    subjects, refused = [], 0
    with Client(server.url) as client:
        for path in sorted(path for path in photographs.iterdir() if path.suffix.lower() in PICTURES):
            try:
                subjects.append(subject_of(client, path))
            except (ValueError, OSError) as exc:
                print(f"{path.name}: {exc}", file=sys.stderr, flush=True)
                refused += 1
        if not subjects:
            raise ValueError(f"{photographs}: needs photographs ({', '.join(PICTURES)}) of one face each")
        return {**swaps_found(client, subjects), "refused": refused}


def subject_of(client: Client, path: Path) -> Subject:
    """Raises OSError for a broken file, ValueError for a photograph without its one face or without room around it."""
    with Image.open(path) as image:
        photograph = np.asarray(image.convert("RGB"))
    faces = client.check_image(photograph).faces
    if len(faces) != 1:
        raise ValueError(f"{len(faces)} faces, needs one")
    return clips.posed(photograph, np.array(faces[0].box))


def swaps_found(client: Client, subjects: list[Subject], fps: float = 12.5) -> Found:
    """Of each a clip of 8 s with the face swapped in the middle, and one untouched: found within 1 s? any alarm?"""
    count, path = int(8 * fps), CACHE / "perf-clip.mp4"
    delays: dict[int, list[float | None]] = {crf: [] for crf in (18, 23, 28)}
    early, alarms = dict.fromkeys(delays, 0), dict.fromkeys(delays, 0)
    for seed, subject in enumerate(tqdm(subjects, "clips", unit="subject")):
        both = clips.swapped(count, seed, subject), clips.genuine(count, seed, subject)
        for crf in delays:
            told, of_genuine = (swaps_told(client, clips.write(path, clip, fps, crf)) for clip in both)
            after = [time_s - count // 2 / fps for time_s in told if time_s >= count // 2 / fps]
            delays[crf].append(after[0] if after else None)
            early[crf] += len(after) < len(told)
            alarms[crf] += bool(of_genuine)
    return {
        f"crf {crf}": {**summary(delays[crf]), "told_before_it": early[crf], "false_alarms": alarms[crf]}
        for crf in delays
    }


def summary(delays: list[float | None]) -> Found:
    """How often, and how soon after the swap."""
    known = [delay for delay in delays if delay is not None]
    return {
        "clips": len(delays),
        "found_within_1_s": round(sum(delay <= 1 for delay in known) / len(delays), 3),
        "found_at_all": len(known),
        "median_delay_s": round(statistics.median(known), 2) if known else None,
    }


def swaps_told(client: Client, path: str) -> list[float]:
    """When swaps are told in a clip, in its seconds."""
    return [event.time_s for frame in client.watch(path) for event in frame.events if event.event == "swap"]


def restart(server: Server) -> Found:
    """Ten streams of 20 frames; the server is killed after eight of each and started again."""

    pictures, ready = jpegs(clips.genuine(20)), threading.Semaphore(0)

    async def one(client: AsyncClient) -> tuple[int, int]:
        async for frame in client.watch(pictures, fps=5):
            if frame.frame == 7:
                ready.release()
        return frame.so_far.frames, frame.so_far.failed

    async def ten() -> list[tuple[int, int]]:
        async with AsyncClient(server.url, retries=400, timeout_s=240) as client:
            return await asyncio.gather(*(one(client) for _ in range(10)))

    with ThreadPoolExecutor(1) as pool:
        streams = pool.submit(asyncio.run, ten())
        for _ in range(10):
            ready.acquire()
        again(server)  # in this thread: the server dies with the thread that started it
        found = streams.result()
    whole = sum(counted == 20 and failed == 0 for counted, failed in found)
    return {"streams": 10, "frames_each": 20, "complete_and_counted_once": whole}


def again(server: Server) -> None:
    """Kill the server and start it again."""
    server.stop()
    server.start()
    server.wait_ready()


def following(server: Server) -> Found:
    """What following saves: overlap with a detection on every frame, and the detector's calls left over."""
    pictures = jpegs(clips.genuine(75, seed=3))
    with Client(server.url) as client:
        truth = [verdict.faces[0].box for verdict in client.check_images(pictures)]
        before = calls(server)
        boxes = [frame.faces[0].box for frame in client.watch(pictures, fps=25)]
        made = calls(server) - before
    overlaps = [iou(np.array([a]), np.array([b])).item() for a, b in zip(truth, boxes, strict=True)]
    return {
        "frames": len(pictures),
        "detections": made,
        "overlap_p5": round(float(np.percentile(overlaps, 5)), 3),
    }


def calls(server: Server) -> int:
    """Requests that the face detector has answered."""
    (model,) = [m for m in server.api.statistics() if m["name"] == "face_detector"]
    return int(model["inference_stats"]["success"]["count"])


PARTS = {"speed": speed, "memory": memory, "slow": slow, "following": following, "swaps": swaps, "restart": restart}


def main(only: tuple[Part, ...] = get_args(Part), portraits: Path | None = None, ready_timeout_s: float = 300.0) -> int:
    """Measures `deepfake_video` on this machine: ten minutes for all parts.

    Args:
        only: which parts.
        portraits: a folder of genuine photographs of one face each: only swaps into these.
        ready_timeout_s: how long the server may take to start.
    """
    if portraits and not portraits.is_dir():
        print(f"--portraits {portraits}: no such folder", file=sys.stderr)
        return 2
    parts: dict[str, Callable[[Server], Found]] = {name: PARTS[name] for name in only}
    if portraits:
        parts = {"other swaps": partial(other_swaps, photographs=portraits)}
    file = RESULTS / "video.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    patience = {"ready_timeout_s": ready_timeout_s, "canary_timeout_s": 30, "extra_arguments": (PATIENT,)}
    with own_server("video", **patience) as server:
        for name, measure in parts.items():
            about = measured_on("perf.studies.video")
            kept[name] = {**measure(server), "about": {name: about[name] for name in NOTED}}
            print(name, json.dumps(kept[name]), flush=True)
            file.write_text(json.dumps(kept, indent=2) + "\n")
            file.with_suffix(".md").write_text(page(kept))
    return 0


def page(kept: Found) -> str:
    """The results as tables in Markdown, a table for cases with the same figures, and what they were measured on."""
    tables: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    on: dict[str, list[str]] = {}
    for part, found in kept.items():
        about = found["about"]
        figures = {name: value for name, value in found.items() if name != "about"}
        cases = {f"{part}: {name}": case for name, case in figures.items() if isinstance(case, dict)}
        for name, case in (cases or {part: figures}).items():
            tables.setdefault(tuple(case), []).append((name, *case.values()))
        where = f"{about['machine']['cpu']}, {about['machine']['cores']} cores"
        key = f"{where}; classifier version {about['classifier']}; commit {about['commit']}; {about['date'][:10]}."
        on.setdefault(key, []).append(f"{part} ({about['load_before']})")
    heads = {keys: ("case", *(key.replace("_", " ") for key in keys)) for keys in tables}
    shown = "\n\n".join(
        markdown(heads[keys], rows)
        if len(rows) > 1
        else f"{rows[0][0]}: "
        + ", ".join(f"{key} {value}" for key, value in zip(heads[keys][1:], rows[0][1:], strict=True))
        for keys, rows in tables.items()
    )
    notes = "\n\n".join(f"{', '.join(parts)}: {key}" for key, parts in on.items())
    return f"# `deepfake_video`\n\n{shown}\n\nIn parentheses: the machine's load before.\n\n{notes}\n"


if __name__ == "__main__":
    sys.exit(command_line(main, "python -m perf.studies.video"))
