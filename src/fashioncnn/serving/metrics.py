"""Metrics for Prometheus, of this process or of all workers together."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder in which workers keep their metrics; prometheus-client reads
it when it is imported."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Media type of the metrics."""


class Metrics:
    """What the service counts and measures. The names are documented in docs/guide/serve.md.

    Attributes:
        requests: by route and status code.
        latency: seconds per request, by route.
        rejected: connections that ended without a request, by reason.
        batch_size: images per batch of the network.
        pending: images that are decoded or predicted, or wait for it.
        predictions: images by class; those with an abstention included.
        abstentions: images for which the model abstained.
        unreadable: images that could not be read.
        decoder_restarts: processes that were replaced after a crash or a deadline.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "fashioncnn_requests", "HTTP requests.", ["route", "status"], registry=registry
        )
        self.latency = Histogram(
            "fashioncnn_request_duration_seconds",
            "Time from the header of a request to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.rejected = Counter(
            "fashioncnn_rejected_connections",
            "Connections that were closed before a request was complete.",
            ["status"],
            registry=registry,
        )
        self.batch_size = Histogram(
            "fashioncnn_batch_size",
            "Images per batch of the network.",
            buckets=BATCH_SIZES,
            registry=registry,
        )
        self.pending = Gauge(
            "fashioncnn_pending_images",
            "Images that are decoded or predicted, or wait for it.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.predictions = Counter(
            "fashioncnn_predictions", "Predicted images by class.", ["class"], registry=registry
        )
        self.abstentions = Counter(
            "fashioncnn_abstentions", "Images with an abstention.", registry=registry
        )
        self.unreadable = Counter(
            "fashioncnn_unreadable_images", "Images that could not be read.", registry=registry
        )
        self.decoder_restarts = Counter(
            "fashioncnn_decoder_restarts",
            "Decoder processes that were replaced.",
            registry=registry,
        )

    def export(self) -> bytes:
        """Return all values in the text format of Prometheus."""
        if MULTIPROCESS_FOLDER not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def forget_process(process: int) -> None:
    """Leave a worker that died out of the gauges; its counts remain."""
    mark_process_dead(process)  # type: ignore[no-untyped-call]
