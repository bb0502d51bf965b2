import pytest

from fashioncnn.config import resolve

PLACE = ["runtime.threads=1", "runtime.kernels=torch"]
SPACE = {
    "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    "model": {"dropout": {"low": 0.0, "high": 0.7}, "hidden": {"low": 16, "high": 64}},
    "training": {"batch_size": {"choices": [32, 64]}},
}


@pytest.fixture
def plan(small):
    """Return a function that plans a search on the small slice."""

    from fashioncnn.tuning.plan import plan_search
    from fashioncnn.tuning.space import parse_space

    def make(*assignments, space=SPACE, recipe="baseline", epochs=2, **more):
        tiny = ["model.channels=[4, 8]", "model.hidden=16", *PLACE]
        flags = {"epochs": epochs, "device": "cpu"}
        settings = resolve(recipe, flags=flags, assignments=[*tiny, *assignments])
        return plan_search(settings, parse_space(space, "test"), "test", small, **more)

    return make


@pytest.fixture
def folder(tmp_path):
    from fashioncnn.tuning.study import SearchFolder

    folder = SearchFolder(tmp_path / "search")
    folder.claim()
    return folder
