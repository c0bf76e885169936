"""A real server's life: start, stop, and everything that can keep it from starting."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facewarden import Client
from serving.errors import ServerError, SetupError
from serving.paths import ROOT
from serving.supervisor.canary import probe
from serving.supervisor.installation import Installation, find_tritonserver
from serving.supervisor.processes import stubs
from serving.supervisor.server import SHARED_MEMORY, Server
from serving.supervisor.versions import newest

WAIT_S = 600  # only bounds a failure: a loaded machine takes minutes for what else takes seconds


def wait_for(condition, message: str) -> None:
    """Returns when the condition holds; the time only bounds a failure."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, message
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def serve(*arguments: str, **options) -> subprocess.Popen:
    """`python -m serving start` as a user starts it, on free ports."""
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "serving", "start", *ports, "--ready-timeout-s", str(WAIT_S), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_every_model_of_the_running_server_answers(server):
    probe(server.api, server.options.models, timeout_s=WAIT_S)


def test_python_models_run_in_stubs_of_this_environment(server):
    assert {stub.model for stub in server.stubs()} == {
        "classifier",
        "deepfake_image",
        "deepfake_video",
        "face_detector",
    }


def test_two_servers_run_side_by_side_and_a_stop_leaves_nothing(server, new_options, portrait_jpeg):
    with Server(new_options()) as second:
        group = second.pid
        assert second.url != server.url
        with Client(second.url) as client:
            assert len(client.check_image(portrait_jpeg).faces) == 1
        regions = [path.name for path in SHARED_MEMORY.iterdir()]
        assert any(name.startswith(second._shm_prefix) for name in regions)
    assert stubs(group) == []
    assert not list(SHARED_MEMORY.glob(f"{second._shm_prefix}*"))
    with Client(server.url) as client:
        assert len(client.check_image(portrait_jpeg).faces) == 1


@pytest.mark.parametrize("option", ["grpc_port", "http_port", "metrics_port"])
def test_a_port_in_use_is_named_with_its_option(new_options, option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"127.0.0.1:{port}.*--{option.replace('_', '-')}"):
            Server(new_options(**{option: port})).start()


def test_a_missing_model_file_is_named_with_the_remedy(new_options, tmp_path):
    (tmp_path / "classifier").mkdir()
    with pytest.raises(SetupError, match=r"classifier/\d+/model\.onnx is missing"):
        Server(new_options(model_repository=tmp_path)).start()


def test_a_broken_model_ends_the_start_with_the_servers_own_reason(new_options, tmp_path):
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", repository)
    (newest(repository / "classifier") / "model.int8.onnx").write_bytes(b"not a model")
    with pytest.raises(ServerError, match="classifier"):
        Server(new_options(model_repository=repository)).__enter__()


def test_a_server_that_ends_unasked_is_reported_and_logged_where_no_folder_was(new_options, tmp_path):
    log = tmp_path / "new" / "triton.log"
    with pytest.raises(ServerError, match="ended with exit code"):
        Server(new_options(extra_arguments=("--no-such-option",), log=log)).__enter__()
    assert "no-such-option" in log.read_text()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_serve_can_be_stopped_while_it_starts(how):
    process = serve()
    wait_for(lambda: children(process.pid), "tritonserver was not started")
    (tritonserver,) = children(process.pid)
    process.send_signal(how)
    out, _ = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out.strip()) == (0, "stopped")
    assert stubs(tritonserver) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_serve_stops_cleanly_on_a_signal(how):
    process = serve()
    assert "ready: gRPC 127.0.0.1:" in process.stdout.readline()
    (tritonserver,) = children(process.pid)
    process.send_signal(how)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out.strip(), err) == (0, "stopped", "")
    assert stubs(tritonserver) == []
    assert not list(SHARED_MEMORY.glob(f"facewarden_{process.pid}_*"))


def test_a_killed_supervisor_takes_its_server_along():
    process = serve()
    assert "ready" in process.stdout.readline()
    (tritonserver,) = children(process.pid)
    process.kill()
    process.communicate(timeout=WAIT_S)
    wait_for(lambda: not is_running(tritonserver) and not stubs(tritonserver), "tritonserver outlived its supervisor")


def test_serve_reports_what_the_machine_lacks_and_exits_2():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = serve("--grpc-port", str(taken.getsockname()[1]))
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith("cannot serve: 127.0.0.1:")
    assert "Traceback" not in err


def test_serve_exits_1_when_its_server_dies():
    process = serve("--canary-interval-s", "0.2")
    assert "ready" in process.stdout.readline()
    (tritonserver,) = children(process.pid)
    os.kill(tritonserver, signal.SIGKILL)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 1
    assert "the server failed: tritonserver ended" in err
    assert stubs(tritonserver) == []


def test_tritonserver_on_path_goes_before_the_wheel(tmp_path, monkeypatch):
    binary = tmp_path / "bin" / "tritonserver"
    binary.parent.mkdir()
    binary.symlink_to(find_tritonserver().binary)
    monkeypatch.setenv("PATH", f"{binary.parent}:{os.environ['PATH']}")
    assert isinstance(find_tritonserver(), Installation)
    assert find_tritonserver().binary == binary.resolve()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
