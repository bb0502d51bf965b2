"""Whether an image shows one of the classes at all, told from its logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def logit_std(logits: NDArray[np.float32]) -> Floats:
    """Return how far apart the logits of each image lie: their standard deviation, (n,) float64.

    A network that was shown images of no class, of which no class was to be likelier, has them
    close together for others too. That tells those apart better than the highest probability, the
    entropy or the energy (docs/LOG.md).

    Args:
        logits: (n, classes) float32.
    """
    spread: Floats = logits.std(axis=1, dtype=np.float64)
    return spread


@dataclass(frozen=True)
class OODDetector:
    """How probably an image shows one of the classes: a logistic function of `logit_std`.

    Attributes:
        slope: of the log-odds.
        intercept: of the log-odds.
    """

    slope: float
    intercept: float

    def probability(self, spread: Floats) -> Floats:
        """Return (n,) in [0, 1] for (n,)."""
        odds = np.clip(self.slope * spread + self.intercept, -700, 700)
        probable: Floats = 1 / (1 + np.exp(-odds))
        return probable
