"""The CPU-time budget of a block: ClickHouse can stop a query only between blocks."""

from __future__ import annotations

import threading

from clip_udfs.errors import BlockOverrun

# In multiples of one image's limit: the reserve of every block, and the share that each image adds.
_RESERVE, _SHARE = 6, 1 / 20


class BlockBudget:
    """Counts the CPU seconds of a block; used by several threads."""

    def __init__(self, seconds: float) -> None:
        """Budget for images that may take ``seconds`` each."""
        self._reserve = _RESERVE * seconds
        self._share = _SHARE * seconds
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Begin a block."""
        with self._lock:
            self._spent = 0.0
            self._images = 0

    def charge(self, seconds: float) -> None:
        """Count one image more.

        Raises:
            BlockOverrun: The block has taken more than the reserve and the images' shares.
        """
        with self._lock:
            self._spent += seconds
            self._images += 1
            if self._spent > self._reserve + self._share * self._images:
                raise BlockOverrun(
                    f"{self._images} images of this block took {self._spent:.0f} s of CPU to decode, more than "
                    f"{self._reserve:g} s and {self._share:g} s for each: leave out images that decode slowly, use "
                    "smaller blocks (SETTINGS max_block_size = 32), or install with a larger --max-image-seconds"
                )
