import json

import pytest
import torch

from fashioncnn.errors import RunError
from fashioncnn.models.layers import FlattenLinear
from fashioncnn.training.checkpoint import (
    discard_checkpoints_after,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path / "c", step, {"w": torch.full((3,), float(step))}, {"at": step})
    return tmp_path / "c"


def test_newest_is_loaded_and_two_are_kept(folder):
    tensors, state = load_checkpoint(folder)
    assert tensors["w"].tolist() == [3, 3, 3]
    assert state == {"at": 3}
    assert sorted(p.name for p in folder.iterdir()) == [
        "step-00000002.json",
        "step-00000002.safetensors",
        "step-00000003.json",
        "step-00000003.safetensors",
    ]


def test_no_checkpoint_yet(tmp_path):
    assert load_checkpoint(tmp_path / "none") is None


def test_what_lies_beyond_the_loaded_one_is_removed(folder):
    (folder / "step-00000003.safetensors").write_bytes(b"")
    (folder / ".step-00000009.json.abc").write_bytes(b"")
    assert load_checkpoint(folder)[1] == {"at": 2}
    discard_checkpoints_after(folder, 2)
    assert sorted(p.name for p in folder.iterdir()) == [
        "step-00000002.json",
        "step-00000002.safetensors",
    ]


@pytest.mark.parametrize("damage", ["flip", "cut", "no weights", "half a manifest", "odd manifest"])
def test_a_damaged_one_gives_way_to_the_one_before(folder, damage):
    weights, manifest = folder / "step-00000003.safetensors", folder / "step-00000003.json"
    content = bytearray(weights.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        weights.write_bytes(content)
    elif damage == "cut":
        weights.write_bytes(content[:-1])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "half a manifest":
        manifest.write_text(manifest.read_text()[:20])
    else:
        manifest.write_text("[]")
    assert load_checkpoint(folder)[1] == {"at": 2}


def test_weights_without_a_manifest_do_not_count(folder):
    (folder / "step-00000003.json").unlink()
    assert load_checkpoint(folder)[1] == {"at": 2}


def test_nothing_intact_is_an_error(folder):
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="none of the 2 checkpoints is intact"):
        load_checkpoint(folder)


def test_manifest_carries_the_hash(folder):
    manifest = json.loads((folder / "step-00000003.json").read_text())
    assert len(manifest["sha256"]) == 64
    assert manifest["schema"] == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.01, fused=True),
    ],
    ids=["adam", "momentum", "sgd"],
)
def test_a_restored_optimiser_steps_to_the_same_bits(build):
    def make():
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return layer, build(layer.parameters())

    def step(layer, optimizer):
        optimizer.zero_grad()
        layer(torch.ones(2, 3, 8, 8)).square().sum().backward()
        optimizer.step()

    layer, optimizer = make()
    step(layer, optimizer)
    tensors = {k: v.clone().contiguous() for k, v in optimizer_tensors(optimizer).items()}
    twin, twin_optimizer = make()
    twin.load_state_dict(layer.state_dict())
    restore_optimizer(twin_optimizer, tensors)
    step(layer, optimizer)
    step(twin, twin_optimizer)
    assert torch.equal(layer.weight, twin.weight)
    assert torch.equal(layer.bias, twin.bias)


def test_moments_of_another_size_are_refused():
    parameter = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.Adam([parameter], fused=True)
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(5), "exp_avg_sq": torch.zeros(5)}
    with pytest.raises(RuntimeError):
        restore_optimizer(optimizer, {f"optimizer.0.{name}": t for name, t in moments.items()})


def test_moments_that_were_kept_flat_are_put_back_in_order():
    """As version 0.1.0 kept them, whose layer had a plain linear layer's weight."""
    torch.manual_seed(0)
    layer = FlattenLinear(3, 2, 2, 4).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    flat = torch.arange(48.0).reshape(4, 12)
    moments = {"step": torch.tensor(1.0), "exp_avg": flat, "exp_avg_sq": flat + 1}
    restore_optimizer(optimizer, {f"optimizer.0.{name}": t for name, t in moments.items()})
    kept = optimizer.state[layer.weight]["exp_avg"]
    assert kept.stride() == layer.weight.stride()
    assert torch.equal(kept, flat.reshape(4, 3, 2, 2))
