"""What can go wrong, and the one table that turns a gRPC status into it.

FacewardenError
├── ImageError          this picture or ROI is refused; another one may pass (also a ValueError)
├── VideoError          this video cannot be opened or decoded (also a ValueError)
├── DeadlineError       no answer within ``timeout_s`` (also a TimeoutError)
├── OverloadedError     the server's queue is full: send less, or later
├── UnavailableError    no server answers, or it is restarting, and the retries are spent
├── AccessError         the server wants a token, a header or a certificate
├── ClosedError         the client was closed
└── ServerError         anything else that the server answers
"""

from __future__ import annotations

import re
from typing import NamedTuple


class FacewardenError(Exception):
    """Base of every error here; ``str()`` is a sentence, ``retryable`` says whether the same call may be sent again."""

    retryable: bool = False


class ImageError(FacewardenError, ValueError):
    """This picture or ROI is refused; sending it again will not help."""


class VideoError(FacewardenError, ValueError):
    """This video cannot be opened or decoded."""


class DeadlineError(FacewardenError, TimeoutError):
    """No answer within ``timeout_s``, retries included."""


class OverloadedError(FacewardenError):
    """The server's queue is full; a retry would only add to it."""


class UnavailableError(FacewardenError):
    """No server answers, or it is restarting, and the retries are spent."""


class AccessError(FacewardenError):
    """The server wants a token, a header or a certificate that the call did not carry."""


class ClosedError(FacewardenError):
    """The client was closed before the answer came."""


class ServerError(FacewardenError):
    """The server answered with an error that has no class of its own."""


class Rule(NamedTuple):
    """A status ``code`` (empty: any) with ``fragment`` in its message becomes ``kind``."""

    code: str
    fragment: str
    kind: type[FacewardenError]
    retryable: bool
    sentence: str  # "{message}" is the server's own, "{url}" the server's address


NO_SERVER = "No server answers at {url}: {message}"
NO_GRPC = "The server at {url} does not speak gRPC; Triton's gRPC port is 8001."
NOT_READY = "The server at {url} is not ready: {message}"
RULES: tuple[Rule, ...] = (  # the first that matches counts
    # A stream that the server has forgotten, or never knew: it is started again where its last answer left it.
    Rule("", "START flag", UnavailableError, True, "The server at {url} does not know this stream."),
    # A model that asks another one passes the message on and loses the code, so these hold for every code.
    Rule("", "invalid input: ", ImageError, False, "{message}"),
    Rule("", "Exceeds maximum queue size", OverloadedError, False, "The server's queue is full."),
    Rule("", "Request timeout expired", DeadlineError, False, "The server's queue timeout has passed."),
    Rule("", "Server is stopping", UnavailableError, True, NOT_READY),
    Rule("", "Server not ready", UnavailableError, True, NOT_READY),
    # A server that stops or starts has no model for a while; a wrong server never has it, and the retries end.
    Rule("", "no available versions", UnavailableError, True, NOT_READY),
    Rule("", "unknown model", UnavailableError, True, NOT_READY),
    # A model's process has died; the server's watchdog brings it back within seconds.
    Rule("", "Stub process", UnavailableError, True, "The model at {url} is restarting."),
    Rule("UNAVAILABLE", "protocol is restricted", AccessError, False, "{message}"),
    Rule("UNAVAILABLE", "HTTP/2", UnavailableError, False, NO_GRPC),
    Rule("UNAVAILABLE", "http1.x", UnavailableError, False, NO_GRPC),
    Rule("UNAVAILABLE", "handshake", AccessError, False, "The TLS handshake with {url} failed ({message})."),
    Rule("UNAVAILABLE", "Misformatted domain", UnavailableError, False, NO_SERVER),
    Rule("UNAVAILABLE", "", UnavailableError, True, NO_SERVER),
    Rule("UNKNOWN", "Stream removed", UnavailableError, True, NO_SERVER),
    Rule("INVALID_ARGUMENT", "", ImageError, False, "{message}"),
    Rule("RESOURCE_EXHAUSTED", "larger than max", ImageError, False, "The image is too large: {message}"),
    Rule("RESOURCE_EXHAUSTED", "", OverloadedError, False, "{message}"),
    Rule("DEADLINE_EXCEEDED", "", DeadlineError, False, "The server at {url} has not answered in time."),
    Rule("UNAUTHENTICATED", "", AccessError, False, "{message}"),
    Rule("PERMISSION_DENIED", "", AccessError, False, "{message}"),
    Rule("CANCELLED", "", ClosedError, False, "The call was cancelled."),
    Rule("UNIMPLEMENTED", "", ServerError, False, "What answers at {url} is no Triton server: {message}"),
    Rule("", "", ServerError, False, "{message}"),
)

_WRAPPERS = (
    (r"^\[StatusCode\.\w+\]\s*", ""),
    (r"^\[request id: [^\]]*\]\s*", ""),
    (r"^in ensemble '[^']*',\s*", ""),
    (r"^Failed to process the request\(s\) for model (instance )?'[^']*',\s*message:\s*", ""),
    (r"^TritonModelException:\s*", ""),
    (r"^invalid input:\s*", ""),  # marks the caller's fault, where the code is lost
    (r"^Model \S+ - Error when running inference:\s*", ""),
    (r"^failed to connect to all addresses; last error: (\w+: )?", ""),
    (r"^(ipv[46]|unix):\S+: ", ""),
    (r"^Tls handshake failed .*OPENSSL_internal:(\w+).*", r"\1"),
    (r"^errors resolving .*: ([^:\]]+)\]?$", r"\1"),
)


def to_error(code: str, message: str, url: str) -> FacewardenError:
    """Make the exception for a gRPC status, ``code`` as "UNAVAILABLE" or "StatusCode.UNAVAILABLE"."""
    code = code.rpartition(".")[2]
    rule = next(r for r in RULES if r.code in ("", code) and r.fragment in message)
    error = rule.kind(sentence(rule.sentence.format(url=url, message=clean(message) or code)))
    error.retryable = rule.retryable
    return error


def clean(message: str) -> str:
    """Strip what the server and gRPC wrap around a message, however deep."""
    previous = None
    while message != previous:
        previous = message
        for wrapper, kept in _WRAPPERS:
            message = re.sub(wrapper, kept, message.strip())
    return " ".join(message.split())


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
