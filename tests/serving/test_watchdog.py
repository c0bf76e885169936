"""Dead and stopped stubs are found and healed, whichever model they host."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from facewarden import Client
from serving.paths import ROOT
from serving.supervisor.api import Api, ApiError, NoAnswerError
from serving.supervisor.canary import INPUTS, CanaryError
from serving.supervisor.server import Server
from serving.supervisor.watchdog import STOPPED, Watchdog

PYTHON_MODELS = ["classifier", "face_detector", "deepfake_image", "deepfake_video"]


@pytest.fixture(scope="module")
def own_server(new_options):
    """A server whose stubs may be killed."""
    with Server(new_options(canary_timeout_s=300)) as running:
        yield running


def strike(server, pid, how):
    """Sends the signal and waits until the kernel has acted on it: gone, or stopped."""
    os.kill(pid, how)
    while any(stub.pid == pid and stub.state not in STOPPED for stub in server.stubs()):
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("model", PYTHON_MODELS)
def test_an_ill_stub_is_healed(own_server, portrait_jpeg, model, how, capsys):
    watchdog = Watchdog(own_server)
    before = [stub.pid for stub in own_server.stubs() if stub.model == model]
    strike(own_server, before[0], how)
    assert watchdog.check() == model
    assert model in capsys.readouterr().err
    after = [stub for stub in own_server.stubs() if stub.model == model]
    assert len(after) == len(before)
    assert before[0] not in [stub.pid for stub in after]
    assert watchdog.check() is None
    with Client(own_server.url) as client:
        assert len(client.check_image(portrait_jpeg).faces) == 1


def test_a_healthy_server_is_left_alone(own_server):
    watchdog = Watchdog(own_server)
    before = own_server.stubs()
    assert watchdog.check() is None
    assert [stub.pid for stub in own_server.stubs()] == [stub.pid for stub in before]


def test_a_busy_model_is_not_taken_for_a_hung_one(own_server, capsys):
    watchdog = Watchdog(own_server)
    silence = CanaryError("face_detector", NoAnswerError("no answer within 5 s"))
    before = watchdog._answered()
    assert watchdog._judge(silence, before) == ("face_detector", str(silence))  # it answered nobody: it hangs
    own_server.api.infer("face_detector", INPUTS["face_detector"](), timeout_s=300)
    while watchdog._answered() == before:  # Triton counts after it answers
        time.sleep(0.01)
    assert watchdog._judge(silence, before) is None
    assert "face_detector is busy" in capsys.readouterr().err
    refusal = CanaryError("face_detector", ApiError("out of memory"))
    assert watchdog._judge(refusal, before) == ("face_detector", str(refusal))  # an error is no lack of time


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_model_control_needs_the_supervisors_secret(own_server, protocol):
    if protocol == "http":
        with pytest.raises(ApiError, match="restricted"):
            Api(own_server.options.http_url).unload("classifier", timeout_s=5)
        return
    with InferenceServerClient(own_server.url) as client, pytest.raises(InferenceServerException, match="restricted"):
        client.unload_model("classifier")


def test_the_canary_command_tells_ill_from_well(own_server, new_options):
    command = [sys.executable, "-m", "serving", "canary", "--timeout-s", "300", "--url"]
    well = subprocess.run([*command, own_server.options.http_url], capture_output=True, text=True, cwd=ROOT)
    assert (well.returncode, well.stdout) == (0, "healthy: every model that clients ask answered\n")
    nobody = subprocess.run([*command, new_options().http_url], capture_output=True, text=True, cwd=ROOT)
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("unhealthy: face_detector: no answer from 127.0.0.1:")
