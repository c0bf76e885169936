"""The command line without a server: usage, exit status, and sentences instead of tracebacks."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from facewarden import (
    AccessError,
    DeadlineError,
    FacewardenError,
    ImageError,
    OverloadedError,
    ServerError,
    UnavailableError,
    Verdict,
)
from facewarden._check import about_server, maybe_lost
from facewarden._terminal import printable, verdict_line
from facewarden.cli import connect, main, parser


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address where nothing listens: bound, so that nobody else takes it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_defaults() -> None:
    args = parser().parse_args(["check", "a.jpg", "b"])
    assert (args.paths, args.url, args.json, args.output) == (["a.jpg", "b"], "localhost:8001", False, None)
    assert (args.timeout_s, args.in_flight, args.threshold) == (30, 16, None)


USAGE = {
    "nothing": [],
    "no path": ["check"],
    "unknown command": ["judge", "a.jpg"],
    "threshold without its second number": ["check", "a.jpg", "--threshold", "0.5"],
    "thresholds in the wrong order": ["check", "a.jpg", "--threshold", "0.9", "0.1"],
    "timeout of zero": ["check", "a.jpg", "--timeout-s", "0"],
    "nothing in flight": ["check", "a.jpg", "--in-flight", "0"],
    "HTTP address": ["status", "--url", "http://localhost:8000"],
    "header without a value": ["status", "--header", "name"],
    "certificate without its key": ["status", "--cert", __file__],
    "output of an unknown kind": ["check", "a.jpg", "--output", "out.txt"],
    "report into no folder": ["watch", "a.mp4", "--report", "no/such/folder/report.html"],
}


@pytest.mark.parametrize("argv", USAGE.values(), ids=USAGE)
def test_usage_is_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(argv)
    except SystemExit as exc:  # argparse's own
        code = int(exc.code or 0)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in err and err


@pytest.mark.parametrize("kind", [AccessError, DeadlineError, OverloadedError, ServerError, UnavailableError])
def test_only_an_answer_about_the_picture_itself_is_kept_for_a_run_that_resumes(kind: type[FacewardenError]) -> None:
    assert about_server(kind("No."))
    assert maybe_lost(kind("No.")) == (kind is not OverloadedError), "a full queue is asked no more than it is"
    assert not about_server(ImageError("Broken.")) and not about_server(None)


@pytest.mark.parametrize("command", [["check", "a.jpg"], ["check", "a.jpg", "--json"], ["watch", "a.mp4"], ["status"]],
                         ids=" ".join)  # fmt: skip
def test_no_server_is_exit_3_with_the_next_step(
    command: list[str], nowhere: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--url", nowhere]) == 3
    out, err = capsys.readouterr()
    assert nowhere in err and "make serve" in err and "Connection refused" in err
    assert err.count("\n") == 1
    assert '"label"' not in out


def test_a_complete_file_of_results_needs_no_server(nowhere: str, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text(json.dumps(Verdict("no_face", None, path="a.jpg").to_json()) + "\n")
    assert main(["check", "a.jpg", "--output", str(output), "--url", nowhere]) == 0


def test_the_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEWARDEN_TOKEN", "from-environment")
    with connect(parser().parse_args(["status"])) as client:
        assert client._metadata()["authorization"] == "Bearer from-environment"
    with connect(parser().parse_args(["status", "--token", "given"])) as client:
        assert client._metadata()["authorization"] == "Bearer given"


def test_a_file_name_cannot_act_on_the_terminal() -> None:
    line = verdict_line(Verdict("no_face", None, path="a\x1b[2J\n\udcff.jpg"), colour=False)
    assert line.isprintable()
    assert printable("ünï 漢") == "ünï 漢"


def test_colour_only_when_wanted() -> None:
    verdict = Verdict("no_face", None, path="a.jpg")
    assert "\033" in verdict_line(verdict, colour=True)
    assert "\033" not in verdict_line(verdict, colour=False)
