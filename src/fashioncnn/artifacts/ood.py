"""Out-of-distribution (OOD) detection on the standard deviation of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

MAX_COEFFICIENT = 1e100
"""Limit on the coefficients in a model folder, beyond which the log-odds could overflow."""


def logit_std(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the standard deviation over the logits of each image, (n,) float64.

    With outlier exposure the logits of out-of-distribution images lie close together. On drawn
    images without clothing this separated better than maximum probability, entropy and energy
    (docs/LOG.md).

    Args:
        logits: (n, classes) float.
    """
    std: NDArray[np.float64] = logits.std(axis=1, dtype=np.float64)
    return std


@dataclass(frozen=True)
class OODDetector:
    """Logistic regression of "in distribution" on `logit_std`.

    Attributes:
        slope: of the log-odds.
        intercept: of the log-odds.
    """

    slope: Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)]
    intercept: Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)]

    def probability(self, std: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that an image is in distribution, (n,) in [0, 1].

        Args:
            std: (n,) from `logit_std`.
        """
        log_odds = np.clip(self.slope * std + self.intercept, -700, 700)  # exp does not overflow
        probability: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
        return probability
