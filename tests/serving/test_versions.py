"""Versions of the classifier: a running server takes up a new one and goes back, and no request fails meanwhile."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from facewarden import Client
from serving.classifier.manifest import FORMAT, check_files
from serving.errors import SetupError, VersionError
from serving.files import digest
from serving.paths import REPOSITORY, ROOT
from serving.pictures import pipelines
from serving.pictures.pipeline_host import PipelineHost
from serving.supervisor.installation import Installation
from serving.supervisor.options import PROFILES
from serving.supervisor.server import Server, check_machine
from serving.supervisor.versions import move, newest, next_number, roll_back, versions, withdrawn


def add_version(repository: Path, number: int) -> Path:
    """Puts the newest version in place once more, under another number, as a publication does."""
    source = newest(repository / "classifier")
    draft = withdrawn(repository) / "draft"
    draft.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, draft)
    manifest = json.loads((draft / "manifest.json").read_text()) | {"model_version": number}
    for name in ("model.onnx", "model.int8.onnx"):
        model = onnx.load(draft / name)
        (constant,) = (tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT32)
        constant.CopyFrom(onnx.numpy_helper.from_array(np.array([[number]], np.int32), constant.name))
        onnx.save(model, draft / name)
        manifest["files"][name] = digest(draft / name)
    (draft / "manifest.json").write_text(json.dumps(manifest))
    move(draft, repository / "classifier" / str(number))
    return repository / "classifier" / str(number)


def set_format(version: Path, number: int) -> None:
    """Makes a version one of another agreement between a version and its server."""
    manifest = json.loads((version / "manifest.json").read_text())
    (version / "manifest.json").write_text(json.dumps(manifest | {"format": number}))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the model repository whose one version of the classifier has the number 1."""
    copy = Path(shutil.copytree(ROOT / "model_repository", tmp_path / "model_repository"))
    shipped = newest(copy / "classifier")
    if shipped.name != "1":
        add_version(copy, 1)
        shutil.rmtree(shipped)
    return copy


@pytest.fixture
def three(repository: Path) -> Path:
    """The same with the versions 1, 2 and 3."""
    add_version(repository, 2)
    add_version(repository, 3)
    return repository


class Asking:
    """Asks the server from two threads, without retries, and keeps the version that every answer names."""

    def __init__(self, url: str, face: bytes) -> None:
        self.url, self.face = url, face
        self.seen: list[tuple[int, int]] = []  # which client, which version
        self.failures: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(client,)) for client in range(2)]

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int = 20) -> list[int]:
        """Versions of the next `count` answers."""
        start = len(self.seen)
        while len(self.seen) < start + count and not self.failures:
            self._stop.wait(0.01)
        return [version for _, version in self.seen[start:]]

    def each(self) -> None:
        """Returns when every client has had one more answer: to what it may have sent before."""
        start = len(self.seen)
        while len({client for client, _ in self.seen[start:]}) < len(self._threads) and not self.failures:
            self._stop.wait(0.01)

    def until(self, version: int) -> None:
        """Returns when an answer names `version`, or one has failed."""
        while version not in self.more(1) and not self.failures:
            pass

    def _ask(self, number: int) -> None:
        with Client(self.url, timeout_s=600, retries=0) as client:
            while not self._stop.is_set():
                try:
                    self.seen.append((number, client.check_face(self.face).model_version))
                except Exception as exc:
                    self.failures.append(exc)
                    return


@pytest.fixture
def serving(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m serving start` of the copy, ready; what it prints from then on is about versions."""
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    command = [
        sys.executable,
        "-m",
        "serving",
        "start",
        *ports,
        "--model-repository",
        str(repository),
        "--ready-timeout-s",
        "600",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.terminate()
    process.communicate()


def test_a_running_server_takes_up_a_version_and_goes_back(repository, serving, face_jpeg):
    """Two clients ask all the time and never retry; nothing but answers is counted, no time."""
    ready = serving.stdout.readline()
    url = ready.split()[2].rstrip(",")
    with Asking(url, face_jpeg) as asking:
        assert set(asking.more()) == {1}
        add_version(repository, 2)
        assert set(asking.more()) == {1}, "it is not loaded before it is asked for"
        serving.send_signal(signal.SIGUSR1)
        assert serving.stdout.readline() == "classifier: version 2\n"
        asking.each()
        assert set(asking.more()) == {2}

        broken = add_version(repository, 3)
        manifest = (broken / "manifest.json").read_text()
        set_format(broken, FORMAT + 1)
        serving.send_signal(signal.SIGUSR1)
        assert f"version 3 of the classifier has format {FORMAT + 1}" in serving.stderr.readline()
        assert set(asking.more()) == {2}

        (broken / "manifest.json").write_text(manifest)
        (broken / "model.int8.onnx").write_bytes(b"not a model")
        serving.send_signal(signal.SIGUSR1)
        assert serving.stderr.readline().startswith("the classifier stays as it was: ")
        assert set(asking.more()) == {2}

        assert roll_back(1, repository) == 1
        serving.send_signal(signal.SIGUSR1)
        assert serving.stdout.readline() == "classifier: version 1\n"
        asking.each()
        assert set(asking.more()) == {1}
    assert not asking.failures


class Polling(Server):
    """A server that looks for changes itself, as Triton does under poll control."""

    def _command(self, installation: Installation) -> list[str]:
        explicit = ("--load-model", "--model-control-mode")
        kept = [argument for argument in super()._command(installation) if not argument.startswith(explicit)]
        return [*kept, "--model-control-mode=poll", "--repository-poll-secs=1"]


def test_a_polling_server_goes_over_by_itself_and_loads_all_it_finds(
    repository, new_options, face_jpeg, infer_at, as_array
):
    with Polling(new_options(model_repository=repository, ready_timeout_s=600)) as server:
        with Asking(server.url, face_jpeg) as asking:
            asking.until(1)
            add_version(repository, 2)
            asking.until(2)
            roll_back(1, repository)
            asking.until(1)
        assert not asking.failures
        image, roi = as_array(face_jpeg), np.array([0.25, 0.02, 0.65, 0.42], np.float32)
        with infer_at(server.url) as infer:  # `python -m serving start` does not load this one
            face = infer("preprocess", {"IMAGE": image[None], "ROI": roi[None]}).as_numpy("FACE")[0]
        (expected,) = PipelineHost(pipelines.preprocess, max_batch_size=1, threads=1).run(IMAGE=[image], ROI=[roi])
        np.testing.assert_array_equal(face, expected)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_version_for_a_newer_server_is_refused_by_its_number(repository, new_options, profile):
    set_format(repository / "classifier" / "1", FORMAT + 1)
    with pytest.raises(SetupError, match=rf"version 1 of the classifier has format {FORMAT + 1} .*roll-back"):
        check_machine(new_options(model_repository=repository, profile=profile))


def test_a_version_is_data():
    assert not [*newest(REPOSITORY / "classifier").rglob("*.py")]


def test_rollback_goes_one_back_and_any_kept_version_can_be_served(three):
    model = three / "classifier"
    assert roll_back(repository=three) == 2
    assert (versions(model), versions(withdrawn(three))) == ([1, 2], [3])
    assert roll_back(repository=three) == 1
    assert (versions(model), versions(withdrawn(three))) == ([1], [2, 3])
    assert roll_back(3, three) == 3
    assert (versions(model), versions(withdrawn(three))) == ([1, 3], [2])
    assert newest(model).name == "3"
    assert next_number(three) == 4


def test_a_withdrawn_number_is_not_used_again(three):
    roll_back(1, three)
    assert next_number(three) == 4


@pytest.mark.parametrize("number", [None, 7], ids=["nothing-before", "unknown"])
def test_rollback_to_nothing_is_refused(repository, number):
    with pytest.raises(VersionError, match=r"here: \[1\], withdrawn: \[\]"):
        roll_back(number, repository)


def test_rollback_to_a_damaged_version_is_refused_and_changes_nothing(three):
    (three / "classifier" / "2" / "model.onnx").write_bytes(b"")
    with pytest.raises(VersionError, match=r"model\.onnx"):
        roll_back(2, three)
    assert versions(three / "classifier") == [1, 2, 3]


def test_only_what_triton_takes_for_a_version_is_one(tmp_path):
    for name in ("1", "12", "03", "2-draft", "configs"):
        (tmp_path / name).mkdir()
    (tmp_path / "4").write_text("a file")
    assert versions(tmp_path) == [1, 12]


def test_the_shipped_version_is_what_its_manifest_says():
    (only,) = versions(ROOT / "model_repository" / "classifier")
    assert check_files(ROOT / "model_repository" / "classifier" / str(only))["model_version"] == only
