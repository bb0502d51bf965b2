import pytest

import profile_step
from step_runner import StopTraining, run_steps


def test_steps_are_numbered_over_epochs_with_the_images_of_each(small, tiny_settings):
    steps = []
    run_steps(tiny_settings("data.validation=0", batch_size=128), small, steps.append)
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    assert [step.images for step in steps] == [128, 128, 44] * 2


def test_callback_ends_the_training(small, tiny_settings):
    steps = []

    def on_step(step):
        steps.append(step)
        if step.number == 2:
            raise StopTraining

    run_steps(tiny_settings(), small, on_step)
    assert len(steps) == 2


def test_other_errors_of_the_callback_are_raised(small, tiny_settings):
    with pytest.raises(ZeroDivisionError):
        run_steps(tiny_settings(), small, lambda step: step.number / 0)


def test_profile_lists_operators_by_time_per_step(small, tiny_training, call, monkeypatch):
    monkeypatch.setattr(profile_step, "repeated_sketches", lambda: small)
    monkeypatch.setattr(profile_step, "WARMUP_STEPS", 1)
    output = call(profile_step, "--steps", 2, "--rows", 1000, "--threads", 1, "--kernels", "torch")
    assert "1 threads, fp32, torch kernels, batch size 128" in output
    (convolution,) = [line for line in output.splitlines() if "| aten::convolution |" in line]
    assert convolution.endswith("| 2 |"), "two convolutions per step"
    assert output.splitlines()[-1].startswith("| all | ")
