"""Checkpoints: selection of the newest intact one, and the state of optimizers."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fashioncnn.errors import OtherVersionError, RunError
from fashioncnn.training.checkpoint import (
    discard_checkpoints_after,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    with_prefix,
    without_prefix,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def folder(tmp_path):
    """Return a folder where checkpoints of steps 1 to 3 were saved."""
    for step in (1, 2, 3):
        tensors = {"w": torch.full((3,), float(step))}
        save_checkpoint(tmp_path / "c", step, tensors, {"at": step, "loss": -2.25})
    return tmp_path / "c"


@pytest.fixture
def newest(folder):
    """Return manifest and tensors of the newest checkpoint in `folder`."""
    return folder / "step-00000003.json", folder / "step-00000003.safetensors"


def loaded_step(folder):
    tensors, state = load_checkpoint(folder)
    assert tensors["w"].tolist() == [state["at"]] * 3
    return state["at"]


def test_newest_is_loaded_and_the_last_two_are_kept(folder):
    tensors, state = load_checkpoint(folder)
    assert tensors["w"].tolist() == [3, 3, 3]
    assert state == {"at": 3, "loss": -2.25}
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-00000002.json",
        "step-00000002.safetensors",
        "step-00000003.json",
        "step-00000003.safetensors",
    ]


def test_missing_folder_has_no_checkpoint(tmp_path):
    assert load_checkpoint(tmp_path / "none") is None


def test_manifest_has_a_schema_and_hashes(newest):
    manifest = json.loads(newest[0].read_bytes())
    assert list(manifest) == ["schema", "step", "sha256", "state", "manifest_sha256"]
    assert (manifest["schema"], manifest["step"]) == (2, 3)
    assert len(manifest["sha256"]) == len(manifest["manifest_sha256"]) == 64


def test_checkpoint_with_any_flipped_byte_falls_back_to_previous(folder, newest):
    for path in newest:
        content = path.read_bytes()
        for position in range(len(content)):
            damaged = bytearray(content)
            damaged[position] ^= 1
            path.write_bytes(damaged)
            assert loaded_step(folder) == 2, f"{path.name}: byte {position}"
        path.write_bytes(content)
    assert loaded_step(folder) == 3


def test_checkpoint_with_any_other_digit_falls_back_to_previous(folder, newest):
    manifest, _ = newest
    content = manifest.read_text()
    for position, digit in enumerate(content):
        if digit.isdigit():
            other = str((int(digit) + 9) % 10)  # of the schema, 1: that of version 0.1
            manifest.write_text(content[:position] + other + content[position + 1 :])
            assert loaded_step(folder) == 2, f"byte {position}"


def test_truncated_checkpoint_falls_back_to_previous(folder, newest):
    for path in newest:
        content = path.read_bytes()
        for length in (0, 1, len(content) // 2, len(content) - 2):
            path.write_bytes(content[:length])
            assert loaded_step(folder) == 2
        path.write_bytes(content)


@pytest.mark.parametrize("text", ["[]", "null", "7", '"text"', "[" * 100_000, '{"schema": 2}'])
def test_manifest_of_another_type_falls_back_to_previous(folder, newest, text):
    newest[0].write_text(text)
    assert loaded_step(folder) == 2


@pytest.mark.parametrize("missing", [0, 1], ids=["manifest", "tensors"])
def test_checkpoint_with_a_missing_file_falls_back_to_previous(folder, newest, missing):
    newest[missing].unlink()
    assert loaded_step(folder) == 2


def test_tensors_of_another_checkpoint_fall_back_to_previous(folder, newest):
    shutil.copy(folder / "step-00000002.safetensors", newest[1])
    assert loaded_step(folder) == 2


def test_damaged_checkpoints_are_reported(folder):
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="none of the 2 checkpoints is intact"):
        load_checkpoint(folder)


@pytest.mark.parametrize("run", ["unfinished-94955e9", "unfinished-0b4f578"])
def test_checkpoint_of_version_0_1_is_rejected_in_one_line(run):
    with pytest.raises(OtherVersionError) as caught:
        load_checkpoint(FIXTURES / run / "checkpoints")
    message = str(caught.value)
    assert message.startswith(f"{FIXTURES / run}: run of fashioncnn 0.1, which this version cannot")
    assert "start a new run" in message
    assert "\n" not in message


def test_files_after_the_loaded_checkpoint_are_discarded(folder, newest):
    newest[1].write_bytes(b"")
    (folder / ".step-00000009.json.abc").write_bytes(b"")
    (folder / "step-00000009.safetensors").write_bytes(b"")
    discard_checkpoints_after(folder, 2)
    assert sorted(path.name for path in folder.iterdir()) == [
        "step-00000002.json",
        "step-00000002.safetensors",
    ]
    discard_checkpoints_after(folder / "none", 2)


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, fused=True),
}


@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_restored_optimizer_takes_the_same_step(build):
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
    restored, restored_optimizer = make()
    restored.load_state_dict(layer.state_dict())
    restore_optimizer(restored_optimizer, tensors)
    step(layer, optimizer)
    step(restored, restored_optimizer)
    assert torch.equal(layer.weight, restored.weight)
    assert torch.equal(layer.bias, restored.bias)


def test_optimizer_state_of_another_size_is_rejected():
    parameter = torch.nn.Parameter(torch.ones(1000))
    optimizer = torch.optim.Adam([parameter], fused=True)
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(5), "exp_avg_sq": torch.zeros(5)}
    with pytest.raises(RuntimeError):
        restore_optimizer(optimizer, with_prefix(moments, "optimizer.0."))


def test_prefixes_are_added_and_removed():
    tensors = {"a.b": torch.ones(1), "c": torch.zeros(1)}
    prefixed = {**with_prefix(tensors, "ema."), **with_prefix(tensors, "model.")}
    assert list(prefixed) == ["ema.a.b", "ema.c", "model.a.b", "model.c"]
    assert without_prefix(prefixed, "model.") == tensors
