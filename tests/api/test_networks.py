"""``Classifier(network=…)``: custom networks in the Python API."""

import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from fashioncnn import Classifier, compare
from fashioncnn.errors import UsageError

CODE = """\
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=4):
        super().__init__(nn.Conv2d(1, width, 3), nn.Flatten(), nn.Linear(width * 676, 10))
"""
QUICK = {"epochs": 1, "batch_size": 32, "device": "cpu", "kernels": "torch", "progress": False}


class Flat(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.linear = nn.Linear(784, classes)

    def forward(self, images):
        return self.linear(images.flatten(1))


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch):
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "apinetworks.py").write_text(CODE)
    yield "apinetworks"
    sys.modules.pop("apinetworks", None)


def test_a_network_is_trained_saved_and_loaded(small):
    classifier = Classifier.train(data=small, network=Flat, out="run", **QUICK)
    assert repr(classifier) == f"Classifier({__name__}:Flat, 7,850 parameters, trained on sketches)"
    classifier.save("model")
    images = small.test.images
    for path in ("run", "model"):
        with pytest.raises(UsageError, match=f"{path}: needs the code of its network") as caught:
            Classifier.load(path)
        assert "--" not in str(caught.value)
        loaded = Classifier.load(path, network=Flat)
        assert np.array_equal(loaded.predict_proba(images), classifier.predict_proba(images))


@pytest.mark.parametrize("network", [Flat, Flat(10), lambda: Flat(10)])
def test_estimators_with_a_network_can_be_cloned_and_searched(network, small):
    clone = pytest.importorskip("sklearn.base").clone
    classifier = Classifier(network=network, **QUICK).fit(small.train.images, small.train.labels)
    again = clone(classifier).fit(small.train.images, small.train.labels)
    images = small.test.images
    assert np.array_equal(again.predict_proba(images), classifier.predict_proba(images))
    assert classifier.get_params()["network"] is network


def test_networks_are_parameters_of_a_grid_search(small):
    search = pytest.importorskip("sklearn.model_selection").GridSearchCV(
        Classifier(**QUICK), {"network": [Flat, None], "validation": [0]}, cv=2, error_score="raise"
    )
    search.fit(small.train.images, small.train.labels)
    assert len(search.cv_results_["params"]) == 2


def test_a_name_is_imported_because_the_caller_gives_it(module, small):
    classifier = Classifier.train(data=small, network=f"{module}:Net", **QUICK)
    classifier.save("saved")
    assert f'"network": "{module}:Net"' in Path("saved/config.json").read_text()
    sys.modules.pop(module)
    with pytest.raises(UsageError, match="needs the code of its network, apinetworks:Net"):
        Classifier.load("saved")
    assert module not in sys.modules
    loaded = Classifier.load("saved", network=f"{module}:Net")
    assert np.array_equal(loaded.predict(small.test.images), classifier.predict(small.test.images))


def test_changed_code_is_a_warning(module, tmp_path, small):
    Classifier.train(data=small, network=f"{module}:Net", **QUICK).save("saved")
    sys.modules.pop(module)
    (tmp_path / "apinetworks.py").write_text(CODE + "\n")
    with pytest.warns(UserWarning, match="code of apinetworks:Net has changed"):
        Classifier.load("saved", network=f"{module}:Net")
    with pytest.warns(
        UserWarning, match=f"trained with the network apinetworks:Net, not {__name__}"
    ):
        Classifier.load("saved", network=own_net)


def own_net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 676, 10))


def test_an_object_is_not_changed_and_its_weights_are_the_start(small):
    network = Flat(10)
    before = network.linear.weight.detach().clone()
    runs = [Classifier(network=network, seed=0, **QUICK) for _ in range(2)]
    first, second = (c.fit(small.train.images, small.train.labels).history for c in runs)
    assert first[0]["train_loss"] == second[0]["train_loss"]
    assert (network.linear.weight == before).all()


@pytest.mark.parametrize("network", [3, [Flat], np.zeros(3)])
def test_other_types_are_rejected(network, small):
    with pytest.raises(UsageError, match="network of type"):
        Classifier.train(data=small, network=network, **QUICK)


def test_settings_of_the_recipes_network_are_rejected(small):
    classifier = Classifier(network=Flat, model__hidden=64, **QUICK)
    with pytest.raises(UsageError, match=r"model__hidden = 64 has no effect on network .*Flat"):
        classifier.fit(small.train.images, small.train.labels)


def test_networks_are_compared(small):
    ours = Classifier.train(data=small, **QUICK)
    own = Classifier.train(data=small, network=Flat, **QUICK)
    comparison = compare(ours, own, small)
    assert comparison["n"] == 100
    assert 0 <= comparison.p <= 1
