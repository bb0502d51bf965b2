"""``--network``: training, resuming, evaluating and using networks of the user's own code."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fashioncnn.models.custom import as_custom_network
from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.training.callbacks import EvaluateSplits

from .conftest import PLACE

CODE = """\
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, image_size=28, width=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
            nn.Linear(width * image_size**2, classes),
        )

    def forward(self, images):
        return self.layers(images)

def wide():
    return Net(10, width=8)

def narrow_output():
    return Net(5)

net = Net(10)
"""
QUICK = [*PLACE, "--epochs", "2", "--data", "sketches", "--set", "data.validation=0"]


@pytest.fixture(autouse=True)
def _module(small, monkeypatch):
    """Write a module into the current folder, and train on few images."""
    monkeypatch.setattr("fashioncnn.data.load.draw_sketches", lambda: small)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("mynetworks.py").write_text(CODE)
    yield
    sys.modules.pop("mynetworks", None)


@pytest.fixture
def trained(cli):
    cli.ok("train", *QUICK, "--network", "mynetworks:Net", "--out", "run")
    return "run"


def forget():
    """Forget the module, as another process does."""
    sys.modules.pop("mynetworks")


def test_training_records_the_network(cli, trained):
    config = Path(trained, "config.toml").read_text()
    assert (
        'name = "custom"\nnetwork = "mynetworks:Net"\nkind = "class"\nsource_sha256 = "' in config
    )
    assert json.loads(Path(trained, "metrics.json").read_bytes())["test"]["parameters"] == 31418
    assert "mynetworks:Net" in Path(trained, "model", "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Net", "--network Net: should be package.module:Class, as in mynetworks:Net"),
        ("mynetwork:Net", "--network mynetwork:Net: mynetwork cannot be imported (ModuleNotFound"),
        ("mynetworks:Nt", "--network mynetworks:Nt: mynetworks has no Nt"),
        ("mynetworks:nn", "--network mynetworks:nn: is of type module; should be"),
        ("mynetworks:narrow_output", "network mynetworks:narrow_output: returns shape (2, 5) for"),
    ],
)
def test_networks_that_cannot_be_trained_leave_nothing_behind(cli, name, message):
    assert message in cli.fails(2, "train", *QUICK, "--network", name)
    assert not Path("runs").exists()


def test_settings_of_another_network_are_rejected(cli, monkeypatch):
    arguments = "train", *QUICK, "--network", "mynetworks:Net"
    message = cli.fails(2, *arguments, "--set", "model.hidden=64")
    assert "--set model.hidden: has no effect on --network mynetworks:Net" in message
    monkeypatch.setenv("FASHIONCNN_MODEL__HIDDEN", "64")
    assert "FASHIONCNN_MODEL__HIDDEN: has no effect" in cli.fails(2, *arguments)


def test_settings_of_a_run_train_again_only_with_the_network(cli, trained):
    arguments = "train", "--config", "run/config.toml"
    expected = "model.network = mynetworks:Net: settings import no code; give --network mynetworks:"
    assert expected in cli.fails(2, *arguments)
    cli.ok(*arguments, "--network", "mynetworks:Net", "--out", "again")
    names = [Path(run, "model", "model.safetensors").read_bytes() for run in ("run", "again")]
    assert names[0] == names[1]


@pytest.fixture
def interrupted(cli, monkeypatch):
    """A run that ended in its second epoch."""
    original = EvaluateSplits.on_epoch

    def fail(self, state, record):
        if record["epoch"] == 2:
            raise KeyboardInterrupt
        original(self, state, record)

    with monkeypatch.context() as patch:
        patch.setattr(EvaluateSplits, "on_epoch", fail)
        cli(*("train", *QUICK, "--network", "mynetworks:Net", "--out", "stopped"))
    assert len(Path("stopped/history.jsonl").read_text().splitlines()) == 1
    return "stopped"


def test_resuming_needs_the_same_network(cli, trained, interrupted):
    message = cli.fails(2, "train", "--resume", interrupted)
    assert message.endswith("if you trust it, give --network mynetworks:Net")
    message = cli.fails(2, "train", "--resume", interrupted, "--network", "mynetworks:wide")
    assert "--network mynetworks:wide: stopped was started with mynetworks:Net" in message
    cli.ok("train", "--resume", interrupted, "--network", "mynetworks:Net")
    for name in ("model/model.safetensors", "model/config.json", "predictions.npz"):
        assert Path(trained, name).read_bytes() == Path(interrupted, name).read_bytes()


def test_resuming_with_changed_code_is_rejected(cli, interrupted):
    forget()
    Path("mynetworks.py").write_text(CODE + "\n")
    message = cli.fails(2, "train", "--resume", interrupted, "--network", "mynetworks:Net")
    assert "--network mynetworks:Net: its file has changed since stopped was started" in message


def test_a_run_without_own_code_takes_no_network(cli, tmp_path):
    small = ["--set", "model.channels=[2]", "--set", "model.hidden=2"]
    cli.ok("train", *QUICK, *small, "--out", "own")
    for arguments in (["train", "--resume"], ["evaluate"], ["train", *QUICK, "--from"]):
        message = cli.fails(2, *arguments, "own", "--network", "mynetworks:Net")
        assert "--network mynetworks:Net: the network of own is fashion_cnn; remove it" in message


def test_commands_need_the_network_and_import_it_only_if_it_is_given(cli, trained):
    forget()
    Path("mynetworks.py").rename("moved.py")
    Image.fromarray(np.zeros((28, 28), np.uint8)).save("image.png")
    bench = "bench", "predict", trained, "--rounds", "1", "--seconds", "0.1"
    predict = "predict", "image.png", "--model", trained
    for arguments in (("evaluate", trained), predict, ("train", *QUICK, "--from", trained), bench):
        message = cli.fails(2, *arguments)
        assert "run: its network is code of its user; if you trust it, give --network" in message
        assert "mynetworks" not in sys.modules
    metrics = cli.json("evaluate", trained, "--network", "moved:Net")
    assert metrics == json.loads(Path(trained, "metrics.json").read_bytes())["test"]
    assert cli.json(*predict, "--network", "moved:Net")
    assert cli.json(*bench, "--network", "moved:Net")["model"] == "run"
    _, _, err = cli("evaluate", trained, "--network", "moved:Net")
    assert "run: was trained with the network mynetworks:Net, not moved:Net" in err
    sys.modules.pop("moved")


def test_report_and_comparison_need_no_code(cli, trained):
    cli.ok("train", *QUICK, "--network", "mynetworks:wide", "--out", "wide")
    forget()
    Path("mynetworks.py").unlink()
    cli.ok("report", trained, "wide", "--out", "both")
    assert "mynetworks:wide" in Path("both/report.html").read_text()
    assert cli.json("compare", trained, "wide")["split"] == "test"
    assert "mynetworks" not in sys.modules


def test_changed_code_is_noted(cli, trained):
    forget()
    Path("mynetworks.py").write_text(CODE + "\n")
    _, _, err = cli("evaluate", trained, "--network", "mynetworks:Net")
    assert "run: the file of mynetworks:Net has changed since the training" in err


def test_training_starts_from_a_run(cli, trained):
    start = "--from", trained, "--network", "mynetworks:Net"
    cli.ok("train", "baseline", *QUICK, *start, "--out", "more")
    histories = [
        json.loads(Path(run, "history.jsonl").read_text().splitlines()[0])["train_loss"]
        for run in (trained, "more")
    ]
    assert histories[1] < histories[0]


def test_explanations_of_a_custom_network(cli, trained):
    Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save("image.png")
    network = "--network", "mynetworks:Net"
    cli.ok("predict", "image.png", "--model", trained, *network, "--explain", "maps")
    assert [path.suffix for path in Path("maps").iterdir()] == [".png"]


def test_an_object_and_an_object_of_a_script_say_what_to_give(cli, small):
    cli.ok("train", *QUICK, "--network", "mynetworks:net", "--out", "object")
    message = cli.fails(2, "evaluate", "object")
    assert "was an object of type mynetworks:net: write a function that returns one" in message
    model = load_model(Path("object"), network=as_custom_network("mynetworks:net"))
    architecture = model.spec.architecture.model_copy(update={"network": "__main__:Net"})
    script = replace(model, spec=model.spec.replace(architecture=architecture))
    save_model(script, Path("script"), "card")
    message = cli.fails(2, "evaluate", "script")
    assert "__main__:Net was in a notebook or script: copy it into a module" in message


def test_tune_and_bench_train_import_nothing(cli):
    custom = ["--set", "model.name=custom", "--set", "model.network=mynetworks:Net"]
    for command in (["bench", "train"], ["tune", "--data", "sketches", "--trials", "1"]):
        cli.fails(2, *command, *custom)
        assert "mynetworks" not in sys.modules
