"""What is sent again, how soon, and when it ends."""

import pytest

from facewarden import DeadlineError, FacewardenError, ImageError, UnavailableError
from facewarden._retry import Retry, RetryPolicy


def unavailable() -> FacewardenError:
    error = UnavailableError("No server answers.")
    error.retryable = True
    return error


class Clock:
    """Seconds that pass only when told to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def most() -> float:
    return 1.0


def test_pauses_double_up_to_the_cap() -> None:
    policy = RetryPolicy(retries=10, first_s=0.1, cap_s=1.0)
    assert [policy.pause_s(attempt, 1.0) for attempt in range(5)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert policy.pause_s(10_000, 1.0) == 1.0


def test_jitter_is_full() -> None:
    assert RetryPolicy().pause_s(3, 0.0) == 0.0
    assert RetryPolicy().pause_s(3, 0.5) == pytest.approx(0.4)


def test_the_default_outlasts_a_restart() -> None:
    policy = RetryPolicy()
    assert 8 < sum(policy.pause_s(attempt, 0.5) for attempt in range(policy.retries)) < 30


def test_ends_after_the_last_retry() -> None:
    retry = Retry(RetryPolicy(retries=2), None)
    assert [retry.pause_s(unavailable()) is None for _ in range(3)] == [False, False, True]


def test_an_error_that_is_not_retryable_ends_at_once() -> None:
    assert Retry(RetryPolicy(), 30).pause_s(ImageError("no")) is None


def test_no_pause_reaches_past_the_deadline() -> None:
    clock = Clock()
    retry = Retry(RetryPolicy(first_s=1.0), 2.5, clock, most)
    assert retry.pause_s(unavailable()) == 1.0
    clock.now_s += 1.0
    assert retry.left_s == pytest.approx(1.5)
    assert retry.pause_s(unavailable()) is None  # 2 s are more than the 1.5 s left


def test_a_deadline_met_while_retrying_names_what_was_retried() -> None:
    retry = Retry(RetryPolicy(), 30)
    late, gone = DeadlineError("late"), unavailable()
    assert retry.cause(late) is late
    retry.pause_s(gone)
    assert retry.cause(late) is gone
    assert isinstance(retry.cause(ImageError("bad")), ImageError)


def test_elapsed_and_left() -> None:
    clock = Clock()
    retry = Retry(RetryPolicy(), 1.0, clock)
    clock.now_s += 0.25
    assert (retry.elapsed_ms, retry.left_s) == (250.0, 0.75)
    clock.now_s += 5
    assert retry.left_s == 1e-3  # gRPC takes no deadline that has passed
    assert Retry(RetryPolicy(), None).left_s is None


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Retry(RetryPolicy(), timeout_s)


def test_retries_are_not_negative() -> None:
    with pytest.raises(ValueError, match="retries"):
        RetryPolicy(retries=-1)
