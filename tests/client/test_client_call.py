"""What is sent again, how soon, and when it ends."""

import pytest

from facewarden import DeadlineError, FacewardenError, ImageError, UnavailableError
from facewarden._call import DEFAULT_RETRIES, Call, backoff_s


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


def test_pauses_double_up_to_the_longest() -> None:
    assert [backoff_s(attempt, 1.0) for attempt in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert backoff_s(10_000, 1.0) == 2.0


def test_jitter_is_full() -> None:
    assert backoff_s(3, 0.0) == 0.0
    assert backoff_s(3, 0.5) == pytest.approx(0.4)


def test_the_default_outlasts_a_restart() -> None:
    assert 8 < sum(backoff_s(attempt, 0.5) for attempt in range(DEFAULT_RETRIES)) < 30


def test_ends_after_the_last_retry() -> None:
    call = Call(2, None)
    assert [call.pause_s(unavailable()) is None for _ in range(3)] == [False, False, True]


def test_an_error_that_is_not_retryable_ends_at_once() -> None:
    assert Call(DEFAULT_RETRIES, 30).pause_s(ImageError("no")) is None


def test_no_pause_reaches_past_the_deadline() -> None:
    clock = Clock()
    call = Call(DEFAULT_RETRIES, 0.25, None, clock, most)
    assert call.pause_s(unavailable()) == 0.1
    clock.now_s += 0.1
    assert call.left_s == pytest.approx(0.15)
    assert call.pause_s(unavailable()) is None  # 0.2 s are more than the 0.15 s left


def test_a_deadline_met_while_retrying_names_what_was_retried() -> None:
    call = Call(DEFAULT_RETRIES, 30)
    late, gone = DeadlineError("late"), unavailable()
    assert call.error_to_raise(late) is late
    call.pause_s(gone)
    assert call.error_to_raise(late) is gone
    assert isinstance(call.error_to_raise(ImageError("bad")), ImageError)


def test_elapsed_and_left() -> None:
    clock = Clock()
    call = Call(DEFAULT_RETRIES, 1.0, None, clock)
    clock.now_s += 0.25
    assert (call.elapsed_ms, call.left_s) == (250.0, 0.75)
    clock.now_s += 5
    assert call.left_s == 1e-3  # gRPC takes no deadline that has passed
    assert Call(DEFAULT_RETRIES, None).left_s is None


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_timeout_is_above_zero(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s"):
        Call(DEFAULT_RETRIES, timeout_s)


def test_retries_are_not_negative() -> None:
    with pytest.raises(ValueError, match="retries"):
        Call(-1, None)
