"""Confidence: out-of-distribution (OOD) detection on the standard deviation of the logits."""

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

    With a `probability_slope`, it is that of "in distribution and classified correctly" on
    `logit_std` and the logarithm of the highest probability.

    Attributes:
        slope: of the log-odds.
        intercept: of the log-odds.
        probability_slope: of the log-odds, by the logarithm of the highest probability.
    """

    slope: Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)]
    intercept: Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)]
    probability_slope: Annotated[float, Field(ge=-MAX_COEFFICIENT, le=MAX_COEFFICIENT)] = 0.0

    def probability(
        self, std: NDArray[np.float64], highest: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return the probability that an image is in distribution, (n,) in [0, 1].

        Args:
            std: (n,) from `logit_std`.
            highest: (n,) highest probabilities, above 0; needed with a `probability_slope`.
        """
        log_odds = self.slope * std + self.intercept
        if self.probability_slope and highest is not None:
            log_odds = log_odds + self.probability_slope * np.log(highest)
        log_odds = np.clip(log_odds, -700, 700)  # exp does not overflow
        probability: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds))
        return probability
