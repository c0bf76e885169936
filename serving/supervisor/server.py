"""One tritonserver process: start, wait for a real answer, heal a model, stop without leftovers."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from serving.classifier.manifest import read_manifest
from serving.errors import ServerError, SetupError

from .api import Api
from .canary import CanaryError, probe
from .installation import OWN_BACKEND, Installation, backend_folder, find_tritonserver
from .options import Options
from .processes import Stub, dying_with_parent, kill, kill_group, stubs
from .versions import newest

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = 64 * 2**20  # room for the stubs' regions
ADMIN = "facewarden-admin"  # key of the restricted protocols
RESTRICTED = "model-repository,shared-memory,trace,logging"  # nobody but the watchdog needs them
OF_NO_GPU = ("unable to create stream", "pinned memory", "cudadriverhelper")  # errors that every start without one logs
CHECKED_OUT = "it is part of the repository: git checkout model_repository"
NEEDED_FILES = {  # file: how it comes to be there
    "classifier/warmup/face.jpg": CHECKED_OUT,
    "face_detector/1/centerface.onnx": "fetch it with: python -m serving fetch-weights",
}
CLASSIFIER = {  # file in the folder of the served version: how it comes to be there
    "embedded-cpu": ("model.onnx", CHECKED_OUT),
    "embedded-gpu": ("model.onnx", CHECKED_OUT),
    "container": ("model.plan", "build it on this GPU with: docker compose run engine"),
}


class Server:
    """A running Triton; use as a context manager, or call `start` and `stop`.

    Raises SetupError before anything is started where the machine lacks something, ServerError afterwards.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._secret = secrets.token_hex(16)
        self.api = Api(options.http_url, {ADMIN: self._secret})
        self._shm_prefix = f"facewarden_{os.getpid()}_{options.grpc_port}_"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """gRPC address for clients."""
        return self.options.url

    @property
    def pid(self) -> int:
        """Process, and process group, of tritonserver."""
        if self._process is None:
            raise ServerError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Starts the process in a group of its own; returns before it is ready."""
        check_machine(self.options)
        installation = find_tritonserver()
        log = None
        if self.options.log:
            self.options.log.parent.mkdir(parents=True, exist_ok=True)
            log = open(self.options.log, "wb")  # noqa: SIM115 - closed below
        self._process = subprocess.Popen(
            dying_with_parent(self._command(installation)),
            env=_environment(installation),
            stdin=subprocess.DEVNULL,
            stdout=log or sys.stderr,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if log:
            log.close()

    def wait_ready(self) -> None:
        """Returns once every model answered a real image; raises ServerError when it died or took too long."""
        deadline = time.monotonic() + self.options.ready_timeout_s
        reason = "it never listened"
        while time.monotonic() < deadline:
            self.check_alive()
            try:
                probe(self.api, self.options.models, self.options.canary_timeout_s)
                return
            except CanaryError as exc:
                reason = str(exc)
            time.sleep(0.1)
        raise ServerError(
            f"the server was not ready within {self.options.ready_timeout_s:g} s ({reason}){self.log_hint()}"
        )

    def check_alive(self) -> None:
        """Raises ServerError where the server process has ended."""
        assert self._process is not None, "start() comes first"
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"tritonserver ended with exit code {code}{self.log_hint()}")

    def stubs(self) -> list[Stub]:
        """The Python stubs of this server."""
        return stubs(self.pid)

    def heal(self, model: str) -> None:
        """Kills what is left of a model's stubs, then unloads and loads it; raises ApiError."""
        for stub in self.stubs():
            if stub.model == model:
                kill(stub.pid)  # a hung stub would keep its unload waiting for ever
        self.api.unload(model, timeout_s=self.options.ready_timeout_s)
        self.api.load(model, timeout_s=self.options.ready_timeout_s)

    def stop(self) -> None:
        """Ends the server: requests in flight first, then the whole process group and its shared memory."""
        if self._process is None:
            return
        group = self._process.pid
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.options.stop_timeout_s + 5)
        kill_group(group)
        self._process.wait()
        for region in SHARED_MEMORY.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)

    def log_hint(self) -> str:
        """The last error lines of the log, for a message; empty where the log goes to stderr."""
        if not self.options.log or not self.options.log.exists():
            return ""
        lines = self.options.log.read_text(errors="replace").splitlines()
        errors = [line.partition("] ")[2] for line in lines if line.startswith("E") and "] " in line]
        serious = [line for line in errors if not any(word in line.lower() for word in OF_NO_GPU)]
        return f"; log {self.options.log}: {serious[-1].strip()}" if serious else f"; log {self.options.log}"

    def _command(self, installation: Installation) -> list[str]:
        o = self.options
        arguments = {
            "model-repository": o.model_repository,
            "backend-directory": backend_folder(installation),
            "model-config-name": o.profile,
            "model-control-mode": "explicit",
            "grpc-address": o.host,
            "grpc-port": o.grpc_port,
            "http-address": o.http_host,
            "http-port": o.http_port,
            "metrics-address": o.host,
            "metrics-port": o.metrics_port,
            "exit-timeout-secs": o.stop_timeout_s,
            "grpc-restricted-protocol": f"{RESTRICTED}:{ADMIN}={self._secret}",
            "http-restricted-api": f"{RESTRICTED}:{ADMIN}={self._secret}",
        }
        python = {
            "shm-region-prefix-name": self._shm_prefix,
            "stub-timeout-seconds": int(o.ready_timeout_s),  # 30 by default: too short on a loaded machine
        }
        loads = [f"--load-model={model}" for model in o.models]
        given = [f"--{name}={value}" for name, value in (arguments | _tls(o)).items()]
        for backend in ("python", OWN_BACKEND.name):
            given += [f"--backend-config={backend},{name}={value}" for name, value in python.items()]
        if o.profile.startswith("embedded"):  # the files say all, and asking costs each Python model one more process
            given.append("--disable-auto-complete-config")
        return [str(installation.binary), *given, *loads, *o.extra_arguments]


def _tls(options: Options) -> dict[str, object]:
    """Triton's arguments for TLS on gRPC, mutual where clients must show a certificate; empty without."""
    if not options.tls_cert:
        return {}
    arguments: dict[str, object] = {
        "grpc-use-ssl": "true",
        "grpc-server-cert": options.tls_cert,
        "grpc-server-key": options.tls_key,
    }
    if options.tls_client_ca:
        arguments |= {"grpc-use-ssl-mutual": "true", "grpc-root-cert": options.tls_client_ca}
    return arguments


def check_machine(options: Options) -> None:
    """Raises SetupError, with the next step, for what would make the start fail."""
    served = newest(options.model_repository / "classifier")
    runs_on_a_cpu_alone = read_manifest(served).get("runtime") == "onnxruntime"
    if runs_on_a_cpu_alone and options.profile != "embedded-cpu":
        raise SetupError(f"version {served.name} of the classifier runs on a CPU alone; use the profile embedded-cpu")
    for name, port in options.ports().items():
        host = options.http_host if name == "--http-port" else options.host
        with socket.socket() as probe_socket:
            probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe_socket.bind((host, port))
            except socket.gaierror as exc:
                raise SetupError(f"{host} is no IPv4 address or name of this machine ({exc.strerror})") from None
            except OSError as exc:
                raise SetupError(
                    f"{host}:{port} cannot be used ({exc.strerror}); stop what listens there, or give {name}"
                ) from None
    free = shutil.disk_usage(SHARED_MEMORY).free
    if free < SHARED_MEMORY_BYTES:
        raise SetupError(f"{SHARED_MEMORY} has {free >> 20} MiB free and {SHARED_MEMORY_BYTES >> 20} MiB are needed")
    graph, remedy = CLASSIFIER[options.profile]
    needed = {served / graph: remedy}
    needed |= {options.model_repository / name: remedy for name, remedy in NEEDED_FILES.items()}
    for path, remedy in needed.items():
        if not path.exists():
            raise SetupError(f"{path} is missing; {remedy}")


def _environment(installation: Installation) -> dict[str, str]:
    """The stub takes the Python whose bin is first on PATH, and libpython from the loader's path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    libraries = [*map(str, installation.library_folders), os.environ.get("LD_LIBRARY_PATH", "")]
    environment = os.environ | {"PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
    environment.pop("PYTHONPATH", None)  # would shadow the installed package
    return environment
