"""gRPC status and message -> exception, with the messages that gRPC and Triton 2.51 were seen to send."""

import pytest

import facewarden
from facewarden import _errors

URL = "somewhere:8001"
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
UNRESOLVED = "errors resolving x:1: [field:hostname lookup error:address lookup failed for x:1: Domain name not found]"
STUB = "Failed to process the request(s) for model instance 'a_0', message: Stub process 'a_0' is not healthy."

CASES = {
    "connection refused": ("UNAVAILABLE", REFUSED, facewarden.UnavailableError, True),
    "host unknown": ("UNAVAILABLE", UNRESOLVED, facewarden.UnavailableError, True),
    "server stopping": ("UNAVAILABLE", "Server is stopping, scheduler for model has been stopped",
                        facewarden.UnavailableError, True),
    "socket closed": ("UNAVAILABLE", "Socket closed", facewarden.UnavailableError, True),
    "no version while stopping": ("NOT_FOUND", "Request for unknown model: 'x' has no available versions",
                                  facewarden.UnavailableError, True),
    "no model while starting": ("NOT_FOUND", "Request for unknown model: 'x' is not found",
                                facewarden.UnavailableError, True),
    "dead stub": ("INTERNAL", STUB, facewarden.UnavailableError, True),
    "stopping, told by another model": (
        "INTERNAL",
        "Model deepfake_face - Error when running inference: Server not ready",
        facewarden.UnavailableError,
        True,
    ),
    "queue full, told by another model": (
        "INTERNAL",
        "Model deepfake_face - Error when running inference: Exceeds maximum queue size",
        facewarden.OverloadedError,
        False,
    ),
    "queue full": ("UNAVAILABLE", "in ensemble 'a', Exceeds maximum queue size", facewarden.OverloadedError, False),
    "queue timeout": ("UNAVAILABLE", "Request timeout expired", facewarden.DeadlineError, False),
    "restricted protocol": ("UNAVAILABLE", "This protocol is restricted, expecting header 'k'",
                            facewarden.AccessError, False),
    "plain HTTP port": ("UNAVAILABLE", "Failed parsing HTTP/2 (Expected SETTINGS frame)",
                        facewarden.UnavailableError, False),
    "bad image": ("INVALID_ARGUMENT", "in ensemble 'a', The image is truncated.", facewarden.ImageError, False),
    "bad image, told by another model": (
        "INTERNAL",
        "invalid input: the JPEG is truncated",
        facewarden.ImageError,
        False,
    ),
    "deadline": ("DEADLINE_EXCEEDED", "Deadline Exceeded", facewarden.DeadlineError, False),
    "no token": ("UNAUTHENTICATED", "who are you", facewarden.AccessError, False),
    "message too large": ("RESOURCE_EXHAUSTED", "Sent message larger than max", facewarden.ImageError, False),
    "not Triton": ("UNIMPLEMENTED", "Received http2 header with status: 404", facewarden.ServerError, False),
    "anything else": ("INTERNAL", "boom", facewarden.ServerError, False),
}  # fmt: skip


@pytest.mark.parametrize(("code", "message", "kind", "retryable"), CASES.values(), ids=CASES)
def test_table(code: str, message: str, kind: type[facewarden.FacewardenError], retryable: bool) -> None:
    for spelled in (code, f"StatusCode.{code}"):
        error = _errors.to_error(spelled, message, URL)
        assert type(error) is kind
        assert error.retryable is retryable
        assert str(error)[0].isupper() or str(error).startswith(URL)
        assert str(error).endswith(".")
        assert "in ensemble" not in str(error) and "StatusCode" not in str(error)


WRAPPED = {
    "ensemble": "in ensemble 'deepfake_face', The image is empty.",
    "nested": "[request id: 7] in ensemble 'a', in ensemble 'b', The image is empty.",
    "python model": "Failed to process the request(s) for model 'p_0_1', message: The image is empty.",
    "instance": "in ensemble 'a', Failed to process the request(s) for model instance 'p_0', message: "
    "TritonModelException: The image is empty.",
    "one model asking another": "Model deepfake_face - Error when running inference: The image is empty.",
    "code in words": "in ensemble 'a', invalid input: The image is empty.",
    "status": "[StatusCode.INVALID_ARGUMENT] The image is empty.",
    "broken lines": "The image\n is empty.",
}


@pytest.mark.parametrize("message", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_are_stripped(message: str) -> None:
    assert _errors.clean(message) == "The image is empty."


def test_host_is_told_without_grpc_jargon() -> None:
    assert str(_errors.to_error("UNAVAILABLE", UNRESOLVED, URL)).endswith("somewhere:8001: Domain name not found.")
    assert str(_errors.to_error("UNAVAILABLE", REFUSED, URL)).endswith("somewhere:8001: Connection refused.")


def test_an_empty_message_is_told_by_its_code() -> None:
    assert str(_errors.to_error("INTERNAL", "", URL)) == "INTERNAL."


def test_tree_in_the_docstring_is_the_tree() -> None:
    names = {rule.kind.__name__ for rule in _errors.RULES} | {"VideoError"}
    assert all(name in (_errors.__doc__ or "") for name in names)
    assert all(issubclass(rule.kind, facewarden.FacewardenError) for rule in _errors.RULES)
    assert issubclass(facewarden.DeadlineError, TimeoutError) and issubclass(facewarden.ImageError, ValueError)


def test_no_rule_is_unreachable() -> None:
    for i, rule in enumerate(_errors.RULES):
        earlier = [r for r in _errors.RULES[:i] if r.code in ("", rule.code) and r.fragment in rule.fragment]
        assert not earlier, rule
