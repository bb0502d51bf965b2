"""Where the studies of a search are stored, as the search sees it."""

from __future__ import annotations

import contextlib

import optuna

from fashioncnn.tuning.config import SearchConfig


class Storage:
    """A journal, which one process at a time writes: nothing has to be agreed with others.

    `fashioncnn.tuning.postgres.SharedStorage` is a database that several processes write.
    """

    is_shared = False
    failures: tuple[type[Exception], ...] = (OSError,)
    """Errors of a storage that cannot be written."""

    def open_study(self, config: SearchConfig) -> optuna.Study | None:  # noqa: ARG002
        """Return the study of a search; None if it is in the folder."""
        return None

    def open_finalists(self, config: SearchConfig) -> optuna.Study | None:  # noqa: ARG002
        """Return the study of the finalists; None if it is in the folder."""
        return None

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no other process draws, queues or takes over trials."""
        return contextlib.nullcontext()

    def started(self, trial: optuna.Trial) -> None:
        """Report to other processes that this one trains the trial, until `ended`."""

    def ended(self, trial: optuna.Trial) -> None:
        """Stop reporting."""

    def recover(self, study: optuna.Study, config: SearchConfig) -> int:  # noqa: ARG002
        """Queue the trials of dead processes again, holding the lock; return how many."""
        return 0
