"""The option ``--network``: the code of a custom network, imported only because it is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fashioncnn.cli.console import note
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.settings import CustomConfig, ModelConfig


def import_given(name: str | None) -> CustomNetwork | None:
    """Import the network given with ``--network``; None without one.

    Modules in the current folder are found, as by ``python -m``.

    Raises:
        UsageError: it cannot be imported.
    """
    if name is None:
        return None
    from fashioncnn.models.custom import import_network

    folder = os.getcwd()  # noqa: PTH109 - sys.path contains strings
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_network(name)
    except UsageError as error:
        raise UsageError(f"--{error}") from error


def check_given(path: Path, recorded: ModelConfig, network: CustomNetwork | None) -> None:
    """Reject a missing or needless ``--network``; note if it is not that of the training.

    Args:
        path: run or model folder.
        recorded: its network.
        network: what was given.

    Raises:
        UsageError: the model needs code that was not given, or needs none.
    """
    from fashioncnn.settings import CustomConfig

    if not isinstance(recorded, CustomConfig):
        if network is not None:
            raise UsageError(
                f"--network {network.name}: the network of {path} is {recorded.name}; remove it"
            )
    elif network is None:
        raise UsageError(f"{path}: its network is code of its user; {_how_to_give(recorded)}")
    elif network.name != recorded.network:
        note(f"{path}: was trained with the network {recorded.network}, not {network.name}")
    elif network.config != recorded:
        note(f"{path}: the file of {network.name} has changed since the training")


def check_resumed(path: Path, recorded: ModelConfig, network: CustomNetwork | None) -> None:
    """Reject another ``--network`` than that with which a run was started.

    Args:
        path: of the run.
        recorded: its network.
        network: what was given.

    Raises:
        UsageError: the network is missing, is another one, or its file has changed.
    """
    from fashioncnn.settings import CustomConfig

    if network is None or not isinstance(recorded, CustomConfig):
        check_given(path, recorded, network)
    elif network.name != recorded.network:
        raise UsageError(f"--network {network.name}: {path} was started with {recorded.network}")
    elif network.config != recorded:
        raise UsageError(
            f"--network {network.name}: its file has changed since {path} was started; restore it, "
            "or start a new run"
        )


def _how_to_give(recorded: CustomConfig) -> str:
    """Return what to type for a custom network."""
    from fashioncnn.models.custom import is_interactive

    if is_interactive(recorded):
        return (
            f"{recorded.network} was in a notebook or script: copy it into a module, and give "
            "--network module:Class"
        )
    if recorded.kind == "instance":
        return (
            f"it was an object of type {recorded.network}: write a function that returns one, and "
            "give --network module:function"
        )
    return f"if you trust it, give --network {recorded.network}"
