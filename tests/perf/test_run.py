"""A short run against the real server: every kind of load answers, and what is noted beside it is there. No speed."""

from __future__ import annotations

import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from tritonclient.http import InferenceServerClient

from facewarden import Client
from perf import __main__ as command
from perf.budgets import load_budgets
from perf.load import pictures
from perf.load.kserve import HEADER_BYTES, infer_body
from perf.load.loads import Load, Target
from perf.load.profiles import Phase, Profile
from perf.load.run import run
from perf.measure import document, named_figures, report
from perf.measure.bytes_moved import moved
from perf.measure.phases import run_profile, session
from perf.measure.resources import ITSELF
from reports.budgets import judge
from reports.tables import measured_on
from serving.paths import ROOT

PATIENT = {"timeout_s": 50.0}  # only bounds a failure, however slow the machine
LOADS = (
    Load("face", "face", "open", 1.0, 2, rate=4.0, **PATIENT),
    Load("image", "image", "open", 1.0, 8, rate=4.0, **PATIENT),
    Load("mixed", "mixed", "open", 1.0, 8, rate=6.0, busy_s=0.5, idle_s=0.1, **PATIENT),
    Load("stream", "stream", "open", 1.0, 2, rate=3.0, deadline_ms=100.0, **PATIENT),
)
PROFILE = Profile("steady", "everything, shortly", 0.2, tuple(Phase(load.name, (load,)) for load in LOADS[:1]))


def test_every_kind_of_request_is_answered(server):
    measured = run(LOADS, Target("grpc", (server.url,)), warm_up_s=0.2)
    for load in LOADS:
        found = measured.outcomes[load.name]
        assert not any(found.error), found.error
        assert (found.latency_ms > 0).all()
        assert len(found.due_s) == found.due > 0
    assert measured.generator_cores > 0
    assert measured.seconds >= 1.0


def test_a_phase_comes_with_what_the_server_used_and_becomes_a_report(server, tmp_path):
    with session("embedded-cpu", server.url) as running:
        run_profile(running, PROFILE, lambda result: None)
        bytes_moved = moved(running.client)
    (result,) = running.results
    assert {ITSELF, "classifier"} <= set(result.use.parts)
    assert 0 < result.use.parts["classifier"] <= result.use.server_cores
    assert [step.model for step in result.server_times["face"].steps] == ["deepfake_face", "classifier"]
    figures = named_figures.figures(running.results, None, None, running.nvml.available)
    assert figures["memory.host_mb"].value > 100
    assert bytes_moved["deepfake_face"].request > 12_000
    assert bytes_moved["deepfake_face"].between_models == 0  # on a CPU the classifier decodes
    assert bytes_moved["deepfake_image"].between_models > bytes_moved["deepfake_image"].request
    surroundings = command.surroundings(command.Asked(), measured_on("perf"), "2.51") | {"duration_s": 1.0}
    judgements = judge(load_budgets("embedded-cpu"), figures)
    made = document.document(
        document.Material(surroundings, [PROFILE], running.results, figures, judgements, moved=bytes_moved)
    )
    assert report.write(tmp_path, "perf", made).stat().st_size > 10_000


def test_over_http_the_same_face_is_asked_and_answered_as_over_grpc(server):
    url = f"http://{server.options.http_url}"
    measured = run([Load("face", "face", "open", 0.5, 2, rate=4.0, **PATIENT)], Target("kserve", (url,)), warm_up_s=0.0)
    errors = measured.outcomes["face"].error
    assert errors and not any(errors), errors
    body, header_bytes = infer_body(pictures.face(), "interactive")
    request = Request(f"{url}/v2/models/deepfake_face/infer", body, {HEADER_BYTES: str(header_bytes)})
    with urlopen(request, timeout=50) as response:
        length = int(response.headers[HEADER_BYTES])
        answer = InferenceServerClient.parse_response_body(response.read(), header_length=length)
    with Client(server.url) as client:
        expected = client.check_face(pictures.face())
    assert answer.as_numpy("FAKE_PROBABILITY").item() == pytest.approx(expected.fake_probability, abs=1e-6)
    assert answer.as_numpy("MODEL_VERSION").item() == expected.model_version


def test_an_http_answer_that_is_no_200_is_a_failure(server):
    url = f"http://{server.options.http_url}/v2/models/deepfake_face/infer"
    measured = run([Load("face", "face", "open", 0.5, 1, rate=4.0, **PATIENT)], Target("http", (url,)), warm_up_s=0.0)
    errors = measured.outcomes["face"].error
    assert errors
    assert all("HTTP 500" in error and "failed to parse" in error for error in errors), errors


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"profile": "steadfast"}, "choose one of"), ({"deployment": "container"}, "docker compose up")],
    ids=["unknown load profile", "container without a URL"],
)
def test_wrong_usage_is_told_with_exit_code_2(asked, said, capsys):
    assert command.main(command.Asked(**asked)) == 2
    assert said in capsys.readouterr().err


COMMANDS = ("", ".measure.alone", ".studies.tune", ".studies.peers", ".studies.gpu", ".studies.video")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does(command):
    done = subprocess.run([sys.executable, "-m", f"perf{command}", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m perf{command} " in done.stdout


def test_unknown_options_are_usage_errors():
    command = [sys.executable, "-m", "perf", "--speed", "3"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 2
