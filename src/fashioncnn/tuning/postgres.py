"""A PostgreSQL database in which several machines share a study.

Trials that a process draws, queues or takes over are decided under an advisory lock of the
database. Processes report with heartbeats that they still train their trials; a trial without one
is queued again by the next process that looks for work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import event, text
from sqlalchemy.exc import SQLAlchemyError

from fashioncnn.errors import FashionCNNError, RunError, UsageError
from fashioncnn.tuning.address import Address
from fashioncnn.tuning.config import EARLIER, SearchConfig, describe_differences
from fashioncnn.tuning.loop import MAX_ATTEMPTS
from fashioncnn.tuning.sampling import make_pruner
from fashioncnn.tuning.storage import Storage
from fashioncnn.tuning.study import check_trials, queue_again, queue_recipe

HEARTBEAT_SECONDS = 30
"""Time between two heartbeats of a trial."""
GRACE_SECONDS = 120
"""Time without a heartbeat after which a trial counts as interrupted."""
CONNECT_SECONDS = 10
"""Time to wait for the first connection."""
RECONNECT_SECONDS = 120.0
"""Time to wait for a database that was reachable before, for example while it restarts."""
LOCK_SECONDS = 60
"""Longest time that a process may hold the lock, or wait for it; the server enforces it."""
TABLES = frozenset({"studies", "trials", "trial_params", "trial_values", "version_info"})
"""Some tables of Optuna."""
CONFIG = "search"
"""User attribute of a study: the content of ``search.toml``."""
NO_HEARTBEAT = text(
    "SELECT t.trial_id FROM trials t LEFT JOIN trial_heartbeats h ON h.trial_id = t.trial_id "
    "WHERE t.study_id = (SELECT study_id FROM studies WHERE study_name = :study) "
    "AND t.state = 'RUNNING' AND h.trial_id IS NULL"
)
FINALISTS = "/finalists"
"""Ending of the name of the study with the trainings of the finalists."""


class SharedStorage(Storage):
    """A database; see `Storage`.

    Attributes:
        address: of the database.
        name: of the study.
    """

    is_shared = True
    failures = (OSError, SQLAlchemyError, StorageInternalError)

    def __init__(self, address: Address, name: str) -> None:
        self.address, self.name = address, name
        self._trials: dict[int, None] = {}  # ids of those that this process trains
        self._stopping = threading.Event()
        self._recovered = -float("inf")
        with self.errors():
            self._engine = self._connect()
            with contextlib.ExitStack() as stack:
                stack.callback(self._engine.dispose)
                with self.lock():
                    self._check_tables()
                    self._storage = self._open()
            self._engine = self._storage.engine
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reporting and close all connections."""
        self._stopping.set()
        self._thread.join()
        self._storage.remove_session()
        self._engine.dispose()

    def open_study(self, config: SearchConfig) -> optuna.Study:
        """Return the study of a search; it is created, with the recipe's values, if it is new.

        Raises:
            UsageError: the study belongs to another search; the message lists the differences.
            RunError: the database cannot be used.
        """
        with self.errors(), self.lock():
            study = self._create_study(self.name, config)
            self._bind(study, config)
            self._check(study, config)
            queue_recipe(study, config)
            return study

    def open_finalists(self, config: SearchConfig) -> optuna.Study:
        """Return the study of the finalists; it is created if it is new."""
        with self.errors(), self.lock():
            study = self._create_study(self.name + FINALISTS, config)
            self._check(study, config)
            return study

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the advisory lock of the study; the server releases it if this process dies.

        Also if the machine loses its power: the server ends a transaction that idles for too long.
        """
        digest = hashlib.sha256(self.name.encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        with self._engine.begin() as connection:
            milliseconds = 1000 * LOCK_SECONDS
            connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
            connection.execute(
                text(f"SET LOCAL idle_in_transaction_session_timeout = {milliseconds}")
            )
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            yield

    def started(self, trial: optuna.Trial) -> None:
        """Send heartbeats of a trial from now on."""
        self._storage.record_heartbeat(trial._trial_id)
        self._trials[trial._trial_id] = None

    def ended(self, trial: optuna.Trial) -> None:
        """Send no more heartbeats of a trial."""
        self._trials.pop(trial._trial_id, None)

    def recover(self, study: optuna.Study, config: SearchConfig) -> int:
        """Queue the trials of dead processes again; at most once per heartbeat interval.

        A process killed before the first heartbeat of its trial leaves one without: it gets one
        here, and is taken over like the others if no further one follows.
        """
        now = time.monotonic()
        if now - self._recovered < HEARTBEAT_SECONDS:
            return 0
        self._recovered = now
        with self._engine.connect() as connection:
            silent = connection.execute(NO_HEARTBEAT, {"study": study.study_name}).scalars().all()
        for trial_id in silent:
            self._storage.record_heartbeat(trial_id)
        optuna.storages.fail_stale_trials(study)
        return _requeue_lost(study, config)

    def _connect(self) -> sqlalchemy.Engine:
        engine = sqlalchemy.create_engine(self.address.url, **self._engine_arguments())
        with engine.connect():
            pass
        return engine

    def _engine_arguments(self) -> dict[str, Any]:
        connect = {"connect_timeout": CONNECT_SECONDS, "application_name": "fashioncnn tune"}
        return {
            "connect_args": {**connect, **self.address.secrets},
            "pool_pre_ping": True,
            "hide_parameters": True,
        }

    def _check_tables(self) -> None:
        """Reject a database of something else before anything is written."""
        tables = set(sqlalchemy.inspect(self._engine).get_table_names())
        if tables and not tables >= TABLES:
            shown = ", ".join(sorted(tables)[:3]) + ", …" * (len(tables) > 3)
            raise UsageError(
                f"{self.address}: the database contains other tables ({shown}) and no searches; "
                "create a database for searches, as with createdb NAME"
            )

    def _open(self) -> optuna.storages.RDBStorage:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Heartbeats are sent here, and not by Study.optimize.
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed to be used")
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            self.address.url.replace("{", "%7B").replace("}", "%7D"),
            engine_kwargs=self._engine_arguments(),
            skip_compatibility_check=True,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
        if storage.get_current_version() != storage.get_head_version():
            storage.remove_session()
            storage.engine.dispose()
            raise RunError(
                f"{self.address}: the database was created by another version of Optuna, and "
                f"{optuna.__version__} cannot read it; use that version, or another database"
            )
        event.listen(storage.engine, "do_connect", _connect_patiently)
        return storage

    def _create_study(self, name: str, config: SearchConfig) -> optuna.Study:
        return optuna.create_study(
            storage=self._storage,
            study_name=name,
            direction="minimize",
            pruner=make_pruner(config.pruner, int(config.settings.training.epochs)),
            load_if_exists=True,
        )

    def _bind(self, study: optuna.Study, config: SearchConfig) -> None:
        """Store what determines the trials, or compare it with what is stored."""
        requested = json.loads(json.dumps(config.to_dict()))
        stored = study.user_attrs.get(CONFIG)
        if stored is None and not study.get_trials(deepcopy=False):
            study.set_user_attr(CONFIG, requested)
            return
        if not isinstance(stored, dict):
            raise UsageError(
                f"{self.address}: study {self.name} was not created by fashioncnn; choose another "
                "name with --study"
            )
        differences = describe_differences({**EARLIER, **stored}, requested)
        if differences:
            raise UsageError(
                f"{self.address}: study {self.name} is another search: {'; '.join(differences)}; "
                "repeat the options of that search, or choose another name with --study"
            )

    def _check(self, study: optuna.Study, config: SearchConfig) -> None:
        try:
            check_trials(study, config)
        except (FashionCNNError, SQLAlchemyError, StorageInternalError):
            raise
        except Exception as error:  # whatever foreign values lead to
            raise RunError(
                f"{self.address}: study {study.study_name} has trials of another search "
                f"({error}); choose another name with --study"
            ) from None

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            for trial_id in list(self._trials):
                # The search itself reports that the database is lost.
                with contextlib.suppress(SQLAlchemyError, StorageInternalError):
                    self._storage.record_heartbeat(trial_id)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Report failures of the database as `RunError`, in one line without the password."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            raise RunError(f"{self.address}: {self.address.explain(error)}") from None


def _requeue_lost(study: optuna.Study, config: SearchConfig) -> int:
    """Queue the trials again that were interrupted and are not queued yet; return how many.

    Those are trials that failed without a reason: of a process whose heartbeats ended, or that was
    killed while it queued the trial again.
    """
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    lost = [
        trial
        for trial in trials
        if trial.state == TrialState.FAIL
        and "reason" not in trial.user_attrs
        and trial.number not in retried
    ]
    queued = 0
    for trial in lost:
        attempt = trial.user_attrs.get("attempt", 1)
        if attempt < MAX_ATTEMPTS:
            queued += queue_again(study, config, trial, attempt=attempt + 1)
    return queued


def _connect_patiently(
    dialect: sqlalchemy.Dialect, record: Any, arguments: Any, parameters: dict[str, Any]
) -> Any:
    """Connect to a database that was reachable before; wait for it if it restarts."""
    del record
    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return dialect.connect(*arguments, **parameters)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
