import platform

import pytest
import torch

from fashioncnn.kernels import adam_step, supports_adam

OPTIONS = {"eps": 1e-8, "weight_decay": 0.0, "decoupled": False, "betas": (0.9, 0.999)}


@pytest.mark.parametrize("decoupled", [False, True], ids=["adam", "adamw"])
@pytest.mark.parametrize("n", [1, 77, 100_000])
def test_ten_steps_equal_pytorchs(native, n, decoupled):
    torch.set_num_threads(2)
    options = {"eps": 1e-6, "betas": (0.8, 0.95), "weight_decay": 0.1}
    weights, mean, square = torch.linspace(-1, 1, n), torch.zeros(n), torch.zeros(n)
    expected = torch.nn.Parameter(weights.clone())
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([expected], lr=0.01, foreach=False, **options)
    for step in range(1, 11):
        arguments = (weights, weights**3, mean, square)
        assert supports_adam(*arguments)
        adam_step(native, *arguments, step=step, learning_rate=0.01, decoupled=decoupled, **options)
        expected.grad = expected.detach() ** 3
        optimizer.step()
    torch.testing.assert_close(weights, expected.detach())
    state = optimizer.state[expected]
    torch.testing.assert_close(mean, state["exp_avg"])
    torch.testing.assert_close(square, state["exp_avg_sq"])


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_values_become_zero_only_inside_the_kernel(native, threads):
    """Weights that only decay shrink forever; computing with subnormal values is slow."""
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("subnormal values are flushed on x86 only")
    torch.set_num_threads(threads)
    weights, mean, square = (torch.full((100_000,), 1e-39) for _ in range(3))
    gradient = torch.zeros_like(weights)
    options = {**OPTIONS, "weight_decay": 0.1}
    adam_step(native, weights, gradient, mean, square, step=1, learning_rate=1e-3, **options)
    for values in (weights, mean, square):
        assert not values.any()
    assert (torch.full_like(weights, 1e-39) * 0.5).all()


def test_support_depends_on_dtype_and_memory_order():
    weights = torch.zeros(4, 2, 3, 3)
    channels_last = weights.contiguous(memory_format=torch.channels_last)
    assert supports_adam(weights, weights)
    assert supports_adam(channels_last, channels_last)
    assert not supports_adam(weights, channels_last)
    assert not supports_adam(weights, weights.double())
    assert not supports_adam(weights.double(), weights.double())
    assert not supports_adam(weights.transpose(0, 1), weights.transpose(0, 1))
    assert not supports_adam(weights, weights[:2])
    assert not supports_adam(weights, weights.flatten())


def test_axes_of_one_value_have_no_order(native):
    """Such as the input channel of the first layer, in gradients of flip-equivariant networks."""
    weights = torch.arange(36.0).view(4, 1, 3, 3)
    gradient = torch.empty_strided((4, 1, 3, 3), (9, 1, 3, 1)).copy_(weights.flip(0))
    assert gradient.stride() != weights.stride()
    mean, square = torch.zeros_like(weights), torch.zeros_like(gradient)
    assert supports_adam(weights, gradient, mean, square)
    expected = weights - 0.5 * gradient.sign()
    options = {**OPTIONS, "eps": 1e-12}
    adam_step(native, weights, gradient, mean, square, step=1, learning_rate=0.5, **options)
    torch.testing.assert_close(weights, expected)
