"""Rejects requests that would wait too long, before they use memory or processor time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import try_again

SMOOTHING = 0.1
"""Weight of a new measurement in the moving average of the time per image."""


class _MovingAverage:
    """Mean of the first values, then an exponential moving average."""

    def __init__(self) -> None:
        self.value = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        self._count += 1
        self.value += max(SMOOTHING, 1 / self._count) * (value - self.value)


class Admission:
    """Counts the images and bytes in progress, and estimates how long a new image would wait.

    Args:
        options: with the limits.
        on_change: called with the number of images in progress.
    """

    def __init__(
        self, options: ServerOptions, on_change: Callable[[int], None] = lambda _: None
    ) -> None:
        self._options, self._on_change = options, on_change
        self._images = 0
        self._bytes = 0
        self.forget()

    @property
    def expected_wait(self) -> float:
        """Seconds until the images in progress are done, by the slower of decoding and network."""
        decoding = self._decoding.value / self._options.decoders
        return self._images * max(decoding, self._network.value)

    def check(self) -> None:
        """Raise `ProblemError` if there is no place for one more image."""
        self._require_place(1)

    @contextmanager
    def images(self, count: int) -> Iterator[None]:
        """Count images while they are in progress.

        Raises:
            ProblemError: with status 429 if there are too many. Any number is accepted as long as
                none is in progress.
        """
        self._require_place(count)
        self._add_images(count)
        try:
            yield
        finally:
            self._add_images(-count)

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes which have arrived, until the block ends.

        The function raises `ProblemError` with status 503 if the bodies of all requests together
        are too large.
        """
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            counted += size
            self._bytes += size
            if self._bytes > self._options.max_pending_bytes:
                raise try_again(503, "the server receives too many uploads at the same time", 1)

        try:
            yield count
        finally:
            self._bytes -= counted

    def record_decoding(self, seconds: float) -> None:
        """Record how long a process needed for one image."""
        self._decoding.add(seconds)

    def record_batch(self, images: int, seconds: float) -> None:
        """Record how long the network needed for a batch."""
        self._network.add(seconds / images)

    def forget(self) -> None:
        """Discard what was recorded, as for images that waited for imports."""
        self._decoding, self._network = _MovingAverage(), _MovingAverage()

    def _require_place(self, count: int) -> None:
        if not self._images:
            return
        is_full = self._images + count > self._options.max_pending_images
        if is_full or self.expected_wait > self._options.max_wait:
            raise try_again(429, "the server is busy; try again later", self.expected_wait)

    def _add_images(self, count: int) -> None:
        self._images += count
        self._on_change(self._images)
