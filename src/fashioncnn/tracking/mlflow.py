"""MLflow: a tracking server or a SQLite file, through mlflow-skinny's client."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashioncnn.tracking.tracker import Artifacts, Status, TrackedRun, TrackedTrial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPERIMENT = "fashioncnn"
PARENT_TAG, NAME_TAG, TRIAL_TAG = "mlflow.parentRunId", "mlflow.runName", "fashioncnn.trial"
IDENTITY_TAG = "fashioncnn.identity"
MAX_PARAMETERS, MAX_METRICS, MAX_TEXT = 100, 1000, 500
"""Limits of one request of MLflow's REST API, and of a value here (MLflow's is 6000)."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Nothing is sent anywhere but to the server that the user names."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
"""MLflow would retry for many minutes."""


class MLflowTracker:
    """Writes runs of the experiment ``fashioncnn``; see `Tracker`.

    Attributes:
        uri: of the server or SQLite file.
        artifacts: folder of artifacts for a SQLite file; None leaves them to the server.
    """

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        self.uri, self.artifacts = uri, artifacts
        self._known: dict[str, set[int]] = {}

    def start(self, run: TrackedRun) -> None:
        """Begin a run, or continue it without repeating an epoch."""
        self.client = self._connect()
        self.experiment = self._experiment()
        identity = run.identity or uuid.uuid4().hex
        run.remember(identity)  # before the run exists, so that no kill leaves it without
        self.run_id = self._continued(identity) or self._create(
            run.name, run.parameters, {IDENTITY_TAG: identity}
        )
        for epoch, metrics in enumerate(run.history, 1):
            self.log_epoch(epoch, metrics)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add the metrics of an epoch, counted from 1, unless they are there."""
        new = {k: v for k, v in metrics.items() if epoch not in self._known.get(k, ())}
        self._log(self.run_id, new, epoch)

    def log_trial(self, trial: TrackedTrial) -> None:
        """Add a trial or finalist of the search as a nested run, unless it is there."""
        found = self.client.search_runs(
            [self.experiment],
            f"tags.`{PARENT_TAG}` = '{self.run_id}' and tags.`{TRIAL_TAG}` = '{trial.key}'",
        )
        for earlier in found:
            if earlier.info.status != "RUNNING":
                return
            self.client.delete_run(earlier.info.run_id)  # of a process killed while writing it
        tags = {PARENT_TAG: self.run_id, TRIAL_TAG: trial.key, "state": trial.state}
        run_id = self._create(trial.name, trial.parameters, tags)
        for epoch, loss in enumerate(trial.curve, 1):
            self._log(run_id, {"loss/val": loss}, epoch)
        self._log(run_id, trial.metrics, 0)
        self.client.set_terminated(run_id, "FAILED" if trial.state == "failed" else "FINISHED")

    def finish(self, metrics: Mapping[str, float], artifacts: Artifacts) -> None:
        """Add final metrics and files."""
        self._log(self.run_id, {k: v for k, v in metrics.items() if k not in self._known}, 0)
        for path in (*artifacts.files, *artifacts.images.values()):
            if path.exists():
                self.client.log_artifact(self.run_id, str(path))
        if artifacts.model is not None and artifacts.model.exists():
            self.client.log_artifacts(self.run_id, str(artifacts.model), "model")

    def close(self, status: Status) -> None:
        """End the run."""
        self.client.set_terminated(self.run_id, status)

    def _connect(self) -> MlflowClient:
        os.environ.update(QUIET)
        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._alone():  # creates the tables
            return MlflowClient(tracking_uri=self.uri)

    def _experiment(self) -> str:
        """Return the id of the experiment, which is created if it does not exist."""
        with self._alone():
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is not None:
                return str(found.experiment_id)
            location = None if self.artifacts is None else self.artifacts.resolve().as_uri()
            return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold a lock beside a SQLite file: two processes must not both create its tables."""
        path = self.uri.removeprefix("sqlite:///")
        if path == self.uri:
            yield
            return
        from filelock import FileLock

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            yield

    def _continued(self, identity: str) -> str | None:
        """Return the id of the run if the server has it, and read which epochs it contains."""
        found = self.client.search_runs(
            [self.experiment], f"tags.`{IDENTITY_TAG}` = '{identity}'", max_results=1
        )
        if not found:
            return None
        run_id = str(found[0].info.run_id)
        for key in found[0].data.metrics:
            steps = self.client.get_metric_history(run_id, key)
            self._known[key] = {metric.step for metric in steps}
        self.client.update_run(run_id, status="RUNNING")
        return run_id

    def _create(self, name: str, parameters: Mapping[str, Any], tags: dict[str, str]) -> str:
        from mlflow.entities import Param

        run = self.client.create_run(self.experiment, tags={NAME_TAG: name, **tags})
        run_id = str(run.info.run_id)
        values = [Param(key, str(value)[:MAX_TEXT]) for key, value in parameters.items()]
        for start in range(0, len(values), MAX_PARAMETERS):
            self.client.log_batch(run_id, params=values[start : start + MAX_PARAMETERS])
        return run_id

    def _log(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        values: Sequence[Metric] = [Metric(k, v, now, step) for k, v in metrics.items()]
        for start in range(0, len(values), MAX_METRICS):
            self.client.log_batch(run_id, metrics=values[start : start + MAX_METRICS])
