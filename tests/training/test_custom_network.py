"""Training, saving and resuming with a custom network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fashioncnn.config import read_settings, resolve
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.errors import InterruptedRun, ModelError, RunError, UsageError
from fashioncnn.models.custom import as_custom_network
from fashioncnn.models.layers import Convolution
from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.runs import create_run
from fashioncnn.training.optimizers import Muon, build_optimizer
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model, write_start


class Net(nn.Module):
    """Has what is often found in networks: view, batch norm, dropout, tied weights, buffers."""

    def __init__(self, classes):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.tied = nn.Conv2d(4, 4, 3, padding=1)
        self.tied.weight = self.second.weight
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout2d(0.2)
        self.output = nn.Linear(4 * 14 * 14, classes)
        self.register_buffer("mask", torch.ones(4, dtype=torch.bool))
        self.register_buffer("count", torch.tensor(3, dtype=torch.int32))

    def forward(self, images):
        features = nn.functional.max_pool2d(self.first(images).relu(), 2)
        features = self.dropout(self.norm(self.tied(self.second(features))))
        return self.output(features.view(-1, 4 * 14 * 14))


CUSTOM = as_custom_network(Net)


def settings_for(dataset, *assignments, custom=CUSTOM, recipe="honest", **flags):
    flags = {"epochs": 2, "batch_size": 32, "device": "cpu", "kernels": "torch", **flags}
    settings = resolve(recipe, flags=flags, assignments=assignments, environment={})
    return prepare_settings(settings, dataset, custom=custom)


OPTIMIZERS = {
    "adam": (),
    "sgd": ("optimizer.name=sgd", "optimizer.learning_rate=0.01"),
    "muon": (
        "optimizer.name=muon",
        "optimizer.learning_rate=0.02",
        "optimizer.adam_learning_rate=0.001",
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_with_each_optimizer(optimizer, mini):
    settings = settings_for(
        mini, "training.ema_decay=0.9", *OPTIMIZERS[optimizer], precision="bf16"
    )
    result = train_model(settings, mini, custom=CUSTOM)
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    assert torch.equal(result.model.network.tied.weight, result.model.network.second.weight)
    assert result.metrics["validation"]["parameters"] == result.model.parameters


def test_muon_updates_inner_convolutions_once_and_adam_the_rest(mini):
    config = settings_for(mini, *OPTIMIZERS["muon"]).optimizer
    network = Net(10)
    optimizer = build_optimizer(config, network)
    assert isinstance(optimizer, Muon)
    inner, rest = (group["params"] for group in optimizer.param_groups)
    assert [id(p) for p in inner] == [id(network.second.weight)]
    assert len(inner) + len(rest) == len(list(network.parameters()))
    parametrized = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))
    linear = nn.Sequential(parametrized, nn.Flatten(), nn.Linear(2, 10))
    optimizer = build_optimizer(config, linear)
    linear(torch.rand(4, 2, 3, 3)).sum().backward()
    before = linear[2].weight.clone()
    optimizer.step()
    assert not torch.equal(linear[2].weight, before)


def test_weights_depend_on_the_seed_for_a_class_and_not_for_a_module(mini):
    def first_loss(custom, seed):
        settings = settings_for(mini, custom=custom, seed=seed, epochs=1, batch_size=1000)
        return train_model(settings, mini, custom=custom).history[0]["train_loss"]

    flat = as_custom_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert first_loss(flat, 0) == first_loss(flat, 0) != first_loss(flat, 1)
    module = as_custom_network(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    assert first_loss(module, 0) == pytest.approx(first_loss(module, 1))


def test_network_is_recorded_in_settings_and_model(mini, tmp_path):
    settings = settings_for(mini)
    run = create_run(tmp_path / "run", settings)
    train_model(settings, mini, run=run, custom=CUSTOM)
    assert read_settings(run.config).model == CUSTOM.config
    description = json.loads((run.model / "config.json").read_bytes())
    assert description["architecture"] == {
        "name": "custom",
        "network": f"{__name__}:Net",
        "kind": "class",
        "source_sha256": CUSTOM.config.source_sha256,
    }
    card = (run.model / "README.md").read_text()
    assert f"needs the code of `{__name__}:Net` (class)" in card


def test_model_is_loaded_with_its_code_only(mini, tmp_path):
    settings = settings_for(mini)
    model = train_model(settings, mini, custom=CUSTOM).model
    save_model(model, tmp_path, "card")
    with pytest.raises(
        UsageError, match=f"needs the code of its network, {__name__}:Net; pass it to Classifier"
    ):
        load_model(tmp_path)
    before = torch.get_rng_state()
    loaded = load_model(tmp_path, network=CUSTOM)
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.sha256 == model.sha256
    assert loaded.network.tied.weight is loaded.network.second.weight
    assert not loaded.network.training
    with pytest.raises(ModelError, match="not the weights of network"):
        load_model(tmp_path, network=as_custom_network(nn.Linear(2, 2)))


def test_code_of_a_network_that_needs_none_is_rejected(tiny_result, tmp_path):
    save_model(tiny_result.model, tmp_path, "card")
    with pytest.raises(UsageError, match="has the network fashion_cnn; remove network="):
        load_model(tmp_path, network=CUSTOM)


def test_settings_import_nothing(mini, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "unwanted.py").write_text("raise SystemExit('imported')")
    assignments = ["model.name=custom", "model.network=unwanted:Net"]
    settings = resolve("baseline", assignments=assignments, environment={})
    with pytest.raises(UsageError, match="network = unwanted:Net: settings import no code"):
        prepare_settings(settings, mini)


@pytest.mark.parametrize("name", ["os", "os:", "a b:c", "os:x\x1b[2J", ":x"])
def test_names_of_another_form_are_rejected_in_settings(name):
    with pytest.raises(UsageError, match=r"model\.network"):
        resolve("baseline", flags=None, assignments=["model.name=custom", f"model.network={name}"])


def test_interrupted_run_resumes_to_the_same_bytes(mini, tmp_path, stop_after, files_of):
    settings = settings_for(mini, "training.ema_decay=0.9", *OPTIMIZERS["muon"])
    complete, resumed = (create_run(tmp_path / name, settings) for name in ("complete", "resumed"))
    train_model(settings, mini, run=complete, custom=CUSTOM)
    for steps in (1, 3):
        with pytest.raises(InterruptedRun):
            train_model(settings, mini, run=resumed, custom=CUSTOM, stop=stop_after(steps))
    train_model(settings, mini, run=resumed, custom=CUSTOM)
    assert files_of(resumed) == files_of(complete)


def test_another_network_does_not_resume_a_run(mini, tmp_path, stop_after):
    settings = settings_for(mini)
    run = create_run(tmp_path / "run", settings)
    with pytest.raises(InterruptedRun):
        train_model(settings, mini, run=run, custom=CUSTOM, stop=stop_after(1))
    other = as_custom_network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))
    with pytest.raises(RunError, match=r"model\.network from .*Net.* to .*lambda"):
        train_model(settings_for(mini, custom=other), mini, run=run, custom=other)


def test_training_continues_from_a_custom_model(mini, tmp_path):
    settings = settings_for(mini)
    model = train_model(settings, mini, custom=CUSTOM).model
    prepared = prepare_settings(settings, mini, model, CUSTOM)
    run = create_run(tmp_path / "run", prepared)
    write_start(run, prepared, mini, model, CUSTOM)
    result = train_model(prepared, mini, run=run, custom=CUSTOM)
    assert result.history[0]["train_loss"] < 2
    with pytest.raises(UsageError, match="the model to start from: needs the code"):
        prepare_settings(settings, mini, model)


def test_native_kernels_are_those_of_own_layers(mini):
    assert settings_for(mini, kernels="auto").runtime.kernels == "torch"

    class Own(nn.Sequential):
        def __init__(self):
            super().__init__(Convolution(1, 2), nn.Flatten(), nn.Linear(2 * 784, 10))

    own = as_custom_network(Own)
    settings = settings_for(mini, custom=own, kernels="auto")
    assert (
        settings.runtime.kernels == settings_for(mini, custom=None, kernels="auto").runtime.kernels
    )
    assert train_model(settings, mini, custom=own).history[-1]["train_loss"] > 0


def test_teachers_of_an_ensemble_have_the_same_network(mini):
    settings = settings_for(mini, "distillation.ensemble_size=1", epochs=1)
    result = train_model(settings, mini, custom=CUSTOM)
    assert result.metrics["summary"]["teacher_seconds"] > 0


def test_a_custom_model_is_no_teacher(mini, tmp_path):
    save_model(train_model(settings_for(mini), mini, custom=CUSTOM).model, tmp_path, "card")
    settings = resolve("baseline", assignments=[f"distillation.teachers={tmp_path}"])
    with pytest.raises(UsageError, match="a custom network cannot be a teacher"):
        prepare_settings(settings, mini)


def test_a_batch_of_one_image_that_the_network_rejects_is_reported_before_training(mini):
    norm = as_custom_network(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.BatchNorm1d(10))
    )
    dataset = replace(mini, train=mini.train.subset(np.arange(97)))
    with pytest.raises(UsageError, match="use another batch size"):
        settings_for(dataset, "data.validation=0", custom=norm, recipe="baseline")
    assert settings_for(dataset, "data.validation=0", recipe="baseline")
    assert not Path("runs").exists()


def test_color_images_reach_the_network_in_the_usual_layout(tmp_path):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(3, dtype=np.uint8), 20)
    train, test = Split(images, labels), Split(images[::3], labels[::3])
    dataset = Dataset("own", ("a", "b", "c"), train, test, "plain", "own")

    def small(in_channels, classes):
        class View(nn.Module):
            def __init__(self):
                super().__init__()
                self.first = nn.Conv2d(in_channels, 4, 3, padding=1)
                self.output = nn.Linear(4 * 256, classes)

            def forward(self, images):
                return self.output(self.first(images).view(len(images), -1))

        return View()

    custom = as_custom_network(small)
    settings = settings_for(dataset, "data.channels=3", custom=custom, recipe="baseline")
    model = train_model(settings, dataset, custom=custom).model
    assert model.network.first.in_channels == 3
    save_model(model, tmp_path, "card")
    assert load_model(tmp_path, network=custom).sha256 == model.sha256
    assert model.multiply_adds == 256 * 27 * 4 + 4 * 256 * 3


def test_finetuning_with_few_images_resumes_to_the_same_bytes(mini, tmp_path, stop_after, files_of):
    """The temperature comes from folds, for which a resumed run reads the initial weights."""
    model = train_model(settings_for(mini), mini, custom=CUSTOM).model
    few = replace(mini, train=mini.train.subset(np.arange(60)))
    assignments = ["training.calibration_folds=2", "data.validation=0"]
    prepared = prepare_settings(
        resolve(
            "finetune",
            flags={"epochs": 2, "batch_size": 16, "device": "cpu", "kernels": "torch"},
            assignments=assignments,
            environment={},
        ),
        few,
        model,
        CUSTOM,
    )
    runs = [create_run(tmp_path / name, prepared) for name in ("complete", "resumed")]
    for run in runs:
        write_start(run, prepared, few, model, CUSTOM)
    train_model(prepared, few, run=runs[0], custom=CUSTOM)
    with pytest.raises(InterruptedRun):
        train_model(prepared, few, run=runs[1], custom=CUSTOM, stop=stop_after(2))
    train_model(prepared, few, run=runs[1], custom=CUSTOM)
    assert files_of(runs[1]) == files_of(runs[0])


def test_the_layer_that_stays_trainable_has_to_be_the_last_one(mini):
    class Unordered(nn.Module):
        def __init__(self):
            super().__init__()
            self.output = nn.Linear(784, 10)
            self.norm = nn.BatchNorm2d(1)

        def forward(self, images):
            return self.output(self.norm(images).flatten(1))

    unordered = as_custom_network(Unordered)
    assert settings_for(mini, custom=unordered)
    with pytest.raises(UsageError, match="its last layer in order of registration is norm"):
        settings_for(mini, "optimizer.backbone_lr_factor=0.1", custom=unordered)
    assert settings_for(mini, "optimizer.backbone_lr_factor=0.1")
