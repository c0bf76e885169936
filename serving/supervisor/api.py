"""Triton's HTTP API, as much of it as a supervisor needs: inference with binary tensors, loading models, statistics.

HTTP rather than gRPC, since it stays on loopback without TLS where gRPC is opened to a network with it. Protocol:
KServe v2 with Triton's binary tensor data and model repository extensions.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import numpy as np

DATATYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"}
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open  # a proxy has no business on loopback


class ApiError(Exception):
    """The server refused, or did not answer in time; the message is its own or the connection's."""


class NoAnswerError(ApiError):
    """Nothing came back in time: nobody listens, or a model hangs, or it is busy."""


@dataclass(frozen=True)
class Api:
    """One server's HTTP address, and the header that opens its restricted protocols."""

    address: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    def infer(self, model: str, inputs: dict[str, np.ndarray], timeout_s: float, **parameters: int | bool) -> None:
        """One inference, its outputs unread; raises ApiError where it fails. `parameters` are the request's."""
        tensors = [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": DATATYPES[array.dtype.name],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in inputs.items()
        ]
        header = json.dumps({"inputs": tensors, "parameters": parameters | {"binary_data_output": True}}).encode()
        body = header + b"".join(array.tobytes() for array in inputs.values())
        self._send(f"models/{model}/infer", body, timeout_s, {"Inference-Header-Content-Length": str(len(header))})

    def unload(self, model: str, timeout_s: float) -> None:
        """Takes a model out of service; returns when it is out."""
        self._send(f"repository/models/{model}/unload", b"{}", timeout_s)

    def load(self, model: str, timeout_s: float) -> None:
        """Puts a model into service; returns when it answers."""
        self._send(f"repository/models/{model}/load", b"{}", timeout_s)

    def statistics(self, timeout_s: float = 5.0) -> list[dict[str, Any]]:
        """Counters of every model, as the statistics extension gives them."""
        models: list[dict[str, Any]] = json.loads(self._send("models/stats", None, timeout_s))["model_stats"]
        return models

    def _send(self, path: str, body: bytes | None, timeout_s: float, headers: dict[str, str] | None = None) -> bytes:
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", body, self.headers | (headers or {}))
        try:
            with _open(request, timeout=timeout_s) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as exc:
            raise ApiError(_reason(exc)) from exc
        except (OSError, http.client.HTTPException) as exc:  # time-outs, broken connections, no HTTP at all
            raise NoAnswerError(f"no answer from {self.address} within {timeout_s:g} s ({exc})") from exc


def _reason(exc: urllib.error.HTTPError) -> str:
    """Triton's own sentence, else the status line."""
    try:
        return str(json.loads(exc.read())["error"])
    except (ValueError, KeyError, OSError):
        return f"HTTP {exc.code} {exc.reason}"
