"""A server that goes: for a moment, under a client that retries, and for good, under the command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from facewarden import Client, ClosedError, DeadlineError, FacewardenError, Verdict

PHOTO = Path(__file__).parents[2] / "model_repository" / "preprocess" / "warmup" / "face.jpg"


@pytest.fixture(scope="module")
def own_server(new_options: Callable[..., Any]) -> Iterator[Any]:
    """A server of these tests alone, which they may kill and leave answering."""
    from serving.supervisor.server import Server

    with Server(new_options(stop_timeout_s=3)) as running:
        yield running


def restart(server: Any) -> None:
    server.stop()
    server.start()
    server.wait_ready()


def test_a_restart_loses_nothing(own_server: Any) -> None:
    stop = threading.Event()

    def until_told() -> Iterator[Path]:
        while not stop.is_set():
            yield PHOTO

    verdicts: list[Verdict] = []
    with Client(own_server.url, in_flight=4, retries=200, timeout_s=120) as client:
        worker = threading.Thread(target=lambda: verdicts.extend(client.check_images(until_told())))
        worker.start()
        time.sleep(1)
        restart(own_server)
        after = client.check_image(PHOTO)
        stop.set()
        worker.join()
    assert after.error is None
    assert len(verdicts) > 4 and {str(verdict.error) for verdict in verdicts if verdict.error} == set()
    assert max(verdict.latency_ms for verdict in verdicts) > 1000  # those that waited for the server


def test_a_dead_model_is_told_as_such_and_not_as_a_bad_image(own_server: Any) -> None:
    for stub in own_server.stubs():
        if stub.model == "classifier":
            os.kill(stub.pid, signal.SIGKILL)
    with Client(own_server.url, retries=1, timeout_s=5) as client:
        with pytest.raises(FacewardenError) as caught:
            client.check_face(PHOTO)
        assert not isinstance(caught.value, ValueError)
        status = client.status()
        assert status.live and not status.healthy
        own_server.heal("classifier")
        assert client.status().healthy


def test_closing_ends_calls_under_way(own_server: Any) -> None:
    os.killpg(own_server.pid, signal.SIGSTOP)  # it takes calls and never answers
    client = Client(own_server.url, timeout_s=60)
    errors: list[FacewardenError] = []

    def ask() -> None:
        try:
            client.check_face(PHOTO)
        except FacewardenError as exc:
            errors.append(exc)

    try:
        with Client(own_server.url, timeout_s=0.5) as hasty, pytest.raises(DeadlineError):
            hasty.check_face(PHOTO)
        worker = threading.Thread(target=ask)
        worker.start()
        time.sleep(0.3)
        client.close()
        worker.join(5)
        assert not worker.is_alive()
    finally:
        os.killpg(own_server.pid, signal.SIGCONT)
    assert [type(error) for error in errors] == [ClosedError]


def test_a_lost_server_is_exit_3_and_the_run_resumes(own_server: Any, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "facewarden", "check", *[str(PHOTO)] * 300, "--output", str(output)]
    command += ["--url", own_server.url, "--in-flight", "4", "--retries", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while not output.exists() or output.read_bytes().count(b"\n") < 5:
            time.sleep(0.02)
        os.killpg(own_server.pid, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    answered = [json.loads(line) for line in output.read_text().splitlines()]
    assert process.returncode == 3 and own_server.url in err and "make serve" in err and err.count("\n") == 1
    assert 5 <= len(answered) < 300 and all(line["error"] is None for line in answered)
    restart(own_server)
    few = [*command[: 4 + len(answered) + 4], *command[304:]]
    again = subprocess.run(few, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and f"{len(answered)} of {len(answered) + 4}" in again.stderr
    assert len(output.read_text().splitlines()) == len(answered) + 4
