import pytest
import torch

from fashioncnn.models.layers import Dropout, FlattenLinear


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75, 0.9999])
def test_dropout_drops_its_share_and_keeps_the_mean(share):
    torch.manual_seed(0)
    values = Dropout(share)(torch.ones(1000, 1003))
    dropped = (values == 0).float().mean().item()
    assert dropped == pytest.approx(share, abs=0.002)
    kept = values[values > 0].unique()
    exactly = round(share * 2**16) / 2**16
    torch.testing.assert_close(kept, torch.tensor([1 / (1 - exactly)]))


def test_dropout_of_nearly_all_drops_nearly_all():
    torch.manual_seed(0)
    assert Dropout(0.999999)(torch.ones(1000, 1000)).mean() == pytest.approx(1, abs=0.5)


def test_dropout_draws_every_value_by_itself():
    """16 bits each: neighbours that shared a draw would be alike."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(4, 100_000)) > 0).float()
    for shift in (1, 2, 3, 4):
        alike = (kept == kept.roll(shift, 1)).float().mean().item()
        assert alike == pytest.approx(0.5, abs=0.005), f"neighbours {shift} apart"


def test_dropout_is_decided_by_the_seed():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(Dropout(0.5)(torch.ones(7, 5)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_dropout_passes_the_gradient_of_what_it_kept():
    values = torch.ones(10, 10, requires_grad=True)
    dropped = Dropout(0.5)(values)
    dropped.sum().backward()
    assert torch.equal(values.grad, dropped.detach())


def test_dropout_does_nothing_outside_of_training():
    values = torch.rand(3, 4)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(3, 64, 7, 7), (2, 5, 1, 3), (4, 16, 3, 2)])
def test_a_linear_layer_on_images_is_one_on_their_flattened_values(shape, layout):
    torch.manual_seed(0)
    layer = FlattenLinear(*shape[1:], 10).to(memory_format=layout)
    plain = torch.nn.Linear(layer.weight[0].numel(), 10)
    plain.load_state_dict(layer.state_dict())
    images = torch.rand(shape).to(memory_format=layout).requires_grad_()
    gradient = torch.rand(len(images), 10)
    answers = []
    for network, values in ((layer, images), (plain, images.flatten(1))):
        outputs = network(values)
        wanted = [images, network.weight, network.bias]
        of_images, of_weight, of_bias = torch.autograd.grad(outputs, wanted, gradient)
        answers.append((outputs, of_images, of_weight.flatten(1), of_bias))
    torch.testing.assert_close(*answers)


def test_weights_of_another_shape_are_refused():
    layer = FlattenLinear(3, 2, 4, 5)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        layer.load_state_dict({"weight": torch.zeros(24, 5), "bias": torch.zeros(5)})


def test_a_linear_layer_on_images_is_saved_as_a_plain_one():
    layer = FlattenLinear(3, 2, 2, 5).to(memory_format=torch.channels_last)
    saved = layer.state_dict()
    assert saved["weight"].shape == (5, 12)
    twin = FlattenLinear(3, 2, 2, 5).to(memory_format=torch.channels_last)
    twin.load_state_dict(torch.nn.Sequential(torch.nn.Flatten(), layer)[1].state_dict())
    assert torch.equal(twin.weight, layer.weight)
    assert twin.weight.is_contiguous(memory_format=torch.channels_last)
