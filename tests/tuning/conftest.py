"""Fixtures for searches. They import Optuna, which is optional, only when they are used."""

import pytest
import torch

from fashioncnn.config import resolve

SPACE = {
    "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    "model": {"dropout": {"low": 0.0, "high": 0.7}, "hidden": {"low": 16, "high": 64}},
    "training": {"batch_size": {"choices": [32, 64]}},
}
TINY = ["model.channels=[4, 8]", "model.hidden=16", "runtime.kernels=torch"]


@pytest.fixture(autouse=True, scope="package")
def _no_fsync():
    """Do not wait for the disk; Optuna does after every line of a journal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def plan(small):
    """Return a function that plans a search on 300 drawings."""
    from fashioncnn.tuning.parsing import parse_space
    from fashioncnn.tuning.plan import plan_search

    def make(*assignments, space=SPACE, recipe="baseline", epochs=2, **options):
        flags = {"epochs": epochs, "device": "cpu", "threads": torch.get_num_threads()}
        settings = resolve(recipe, flags=flags, assignments=[*TINY, *assignments], environment={})
        return plan_search(settings, parse_space(space, "test"), "test", small, **options)

    return make


@pytest.fixture(scope="session")
def config(plan):
    """A search by TPE with two epochs per trial."""
    return plan()


@pytest.fixture(scope="session")
def long_config(plan):
    """A search by TPE with four epochs per trial, so that trials can be pruned."""
    return plan(epochs=4)


@pytest.fixture(scope="package")
def uninterrupted(long_config, tmp_path_factory):
    """The results of `long_config`, searched in one call."""
    from fashioncnn.tuning.folder import SearchFolder

    from .helpers import finished_results, search_in

    folder = SearchFolder(tmp_path_factory.mktemp("uninterrupted"))
    return finished_results(search_in(folder, long_config))


@pytest.fixture
def folder(tmp_path):
    from fashioncnn.tuning.folder import SearchFolder

    folder = SearchFolder(tmp_path / "search")
    folder.create()
    return folder


@pytest.fixture
def study(folder, config):
    from fashioncnn.tuning.study import open_study

    return open_study(folder, config)
