"""This process's heap under pictures of many sizes: what is free goes back to the system, instead of lying in gaps.

glibc's malloc, mallopt(3) and malloc_trim(3). Does nothing where there is another C library.
"""

from __future__ import annotations

import ctypes
import time

M_MMAP_THRESHOLD = -3  # mallopt(3)
PICTURE_BYTES = 2**19  # larger buffers get pages of their own, which go back whole
TRIM_PERIOD_S = 10.0


class Heap:
    """Sets the process's allocator; then `trim_now_and_then` after each request."""

    def __init__(self, period_s: float = TRIM_PERIOD_S) -> None:
        libc = ctypes.CDLL(None)
        self._trim = getattr(libc, "malloc_trim", None)
        self._period_s, self._due_s = period_s, time.monotonic() + period_s
        if mallopt := getattr(libc, "mallopt", None):
            mallopt(M_MMAP_THRESHOLD, PICTURE_BYTES)

    def trim_now_and_then(self) -> None:
        """Gives back what is free, once in `period_s`."""
        if self._trim and time.monotonic() >= self._due_s:
            self._trim(ctypes.c_size_t(0))
            self._due_s = time.monotonic() + self._period_s
