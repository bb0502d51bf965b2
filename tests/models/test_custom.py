"""Networks of the user's own code: how they are found, recorded, created and tried out."""

import functools
import hashlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fashioncnn.errors import UsageError
from fashioncnn.models import MODELS, build_model, measure_multiply_adds, place_network
from fashioncnn.models.custom import as_custom_network, import_network
from fashioncnn.models.fashion_cnn import FashionCNN
from fashioncnn.models.grad_cam import grad_cam
from fashioncnn.models.verification import check_network
from fashioncnn.settings import CustomConfig, FashionCNNConfig


class Net(nn.Module):
    """Reads logits from a convolution, with `view`, which channels_last would not allow."""

    def __init__(self, image_size=28, classes=10):
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3, padding=1)
        self.output = nn.Linear(4 * image_size**2, classes)

    def forward(self, images):
        return self.output(self.convolution(images).relu().view(len(images), -1))


class Output(nn.Module):
    """Changes logits by a function."""

    def __init__(self, function):
        super().__init__()
        self.network, self.function = Net(), function

    def forward(self, images):
        return self.function(self.network(images))


def flat(classes=10, *others):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, classes), *others)


def with_buffer(value, **options):
    network = flat()
    network.register_buffer("extra", value, **options)
    return network


def record(source):
    config = as_custom_network(source).config
    return config.network, config.kind


def test_a_class_a_function_and_a_module_are_recorded_as_such():
    here = __name__
    assert record(Net) == (f"{here}:Net", "class")
    assert record(flat) == (f"{here}:flat", "function")
    assert record(Net()) == (f"{here}:Net", "instance")
    assert record(nn.Sequential()) == ("torch.nn.modules.container:Sequential", "instance")
    assert record(lambda: Net(3))[0].startswith(f"{here}:test_a_class")


def test_arguments_of_a_partial_are_recorded():
    assert record(functools.partial(Net, classes=3)) == (f"{__name__}:Net(classes=3)", "function")
    long = functools.partial(Net, classes="é\n" * 400)
    assert CustomConfig.model_validate(as_custom_network(long).config.model_dump())


def test_the_file_of_the_code_is_recorded():
    expected = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    for source in (Net, Net(), flat, functools.partial(Net, classes=10)):
        assert as_custom_network(source).config.source_sha256 == expected


def test_code_that_is_in_no_file_has_no_hash():
    namespace = {"nn": nn, "__name__": "__main__"}
    exec("class Net(nn.Module):\n    def forward(self, images): ...", namespace)
    config = as_custom_network(namespace["Net"]).config
    assert (config.network, config.source_sha256) == ("__main__:Net", "")


@pytest.mark.parametrize("source", [3, None, ["Net"], torch.zeros(2)])
def test_other_types_are_rejected(source):
    with pytest.raises(UsageError, match=r"network of type .*: should be"):
        as_custom_network(source)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module, found by `import_network`, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def write(text):
        names.append(f"mynetworks{len(names)}")
        (tmp_path / f"{names[-1]}.py").write_text(text)
        return names[-1]

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_a_name_is_imported(module):
    name = module(
        "from torch import nn\nclass A:\n  class Net(nn.Module): pass\nnet = nn.Flatten()"
    )
    assert import_network(f"{name}:A.Net").config.kind == "class"
    assert as_custom_network(f"{name}:A.Net").name == f"{name}:A.Net"
    assert import_network(f"{name}:net").config.kind == "instance"


@pytest.mark.parametrize(
    ("text", "attribute", "message"),
    [
        ("", "Net", "has no Net"),
        ("Net = 3", "Net", "is of type int; should be"),
        (
            "import nowhere",
            "Net",
            r"cannot be imported \(ModuleNotFoundError: No module named 'now",
        ),
        ("1 / 0", "Net", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("raise SystemExit", "Net", r"cannot be imported \(SystemExit\)"),
        ("class (", "Net", r"cannot be imported \(SyntaxError: invalid syntax"),
    ],
)
def test_names_that_cannot_be_imported_are_reported_in_one_line(module, text, attribute, message):
    with pytest.raises(UsageError, match=message) as caught:
        import_network(f"{module(text)}:{attribute}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Net", "a:", ":Net", "a/b.py:Net", "..a:Net", "a:Net()", "a b:c"])
def test_names_of_another_form_are_rejected(name):
    with pytest.raises(UsageError, match=r"should be package\.module:Class"):
        import_network(name)


def test_only_arguments_that_the_signature_names_are_passed():
    seen = []

    def some(image_size, num_classes, other=5, **others):
        seen.append((image_size, num_classes, other, others))
        return flat()

    as_custom_network(some).build(28, 10)
    as_custom_network(functools.partial(some, num_classes=3)).build(28, 10)
    assert seen == [(28, 10, 5, {}), (28, 3, 5, {})]
    assert (
        as_custom_network(lambda *, in_channels: flat(in_channels)).build(28, 10)[1].out_features
        == 1
    )


def test_a_module_keeps_its_weights_and_is_not_changed():
    network = flat()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    built = as_custom_network(network).build(28, 10)
    with torch.no_grad():
        built[1].weight.zero_()
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_lazy_layers_get_their_shapes():
    network = as_custom_network(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10))).build(
        28, 10
    )
    assert network[1].weight.shape == (10, 784)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: 3, "returned an object of type int"),
        (lambda size: flat(), r"cannot be created \(TypeError: .*missing 1 required"),
        (nn.Linear(3, 3), r"fails on images of shape \(2, 1, 28, 28\) \(RuntimeError: mat1"),
        (flat(5), r"returns shape \(2, 5\) for .* should be \(2, 10\), one logit per class"),
        (flat(10, nn.Softmax(1)), "returns probabilities"),
        (
            Output(lambda logits: logits.squeeze()),
            r"returns shape \(10,\) for images of shape \(1,",
        ),
        (Output(lambda logits: (logits, None)), "returns an object of type tuple"),
        (
            Output(lambda logits: logits.argmax(1, keepdim=True).expand(-1, 10)),
            "returns torch.int64",
        ),
        (Output(lambda logits: logits * torch.nan), "not finite for random images"),
        (Output(lambda logits: logits.detach()), "do not depend on a trainable parameter"),
        (nn.Sequential(nn.Flatten(), nn.Identity()), "has no trainable parameter"),
        (with_buffer(torch.tensor(-torch.inf)), "extra .* persistent=False"),
        (with_buffer(torch.zeros(2, dtype=torch.complex64)), "extra .* type torch.complex64"),
    ],
)
def test_networks_that_cannot_be_trained_are_rejected_in_one_line(source, message):
    with pytest.raises(UsageError, match=message) as caught:
        check_network(as_custom_network(source), 28, 10)
    assert "\n" not in str(caught.value)


def test_an_output_that_is_another_one_in_training_is_rejected():
    class Auxiliary(Net):
        def forward(self, images):
            logits = super().forward(images)
            return (logits, logits) if self.training else logits

    with pytest.raises(UsageError, match="returns an object of type tuple in training"):
        check_network(as_custom_network(Auxiliary), 28, 10)


def test_a_last_batch_of_one_image_is_tried_out():
    network = as_custom_network(lambda: flat(10, nn.BatchNorm1d(10)))
    assert check_network(network, 28, 10)
    with pytest.raises(UsageError, match=r"another batch size .*Expected more than 1 value"):
        check_network(network, 28, 10, batch_sizes={2, 1})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trying_out_changes_no_random_state(precision):
    before = torch.get_rng_state()
    assert check_network(as_custom_network(Net), 28, 10, precision=precision)
    assert torch.equal(torch.get_rng_state(), before)


def test_layout_of_the_weights_is_kept():
    network = Net()
    place_network(network, torch.device("cpu"))
    assert network.convolution.weight.is_contiguous()
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(1, 4, 3, padding=1), 784 * 9 * 4),
        (nn.Conv2d(1, 4, 5, stride=2), 12 * 12 * 25 * 4),
        (nn.Conv2d(1, 4, (3, 1), dilation=2, padding="same"), 784 * 3 * 4),
        (nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, groups=4)), 784 * 4 + 26**2 * 9 * 4),
        (nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 2, 4, stride=4)), 196 * 4 * 2),
        (nn.Linear(28, 3), 28 * 28 * 3),
        (Net(), 784 * 9 * 4 + 4 * 784 * 10),
    ],
)
def test_multiply_adds_of_convolutions_and_linear_layers(layer, expected):
    assert measure_multiply_adds(layer, 28) == expected
    assert not any(module._forward_hooks for module in layer.modules())


@pytest.mark.parametrize(
    "layer", [nn.LSTM(28, 4), nn.MultiheadAttention(28, 1), nn.Bilinear(2, 2, 2)]
)
def test_multiply_adds_are_unknown_with_other_layers(layer):
    assert measure_multiply_adds(nn.Sequential(layer), 28) is None


def test_activation_maps_are_those_of_the_last_convolution():
    """The logits of the layer are linear in its features, so that gradients are known."""
    convolution, output = nn.Conv2d(1, 3, 3), nn.Linear(3, 2)
    network = nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), output).eval()
    images = torch.rand(4, 1, 8, 8)
    labels = torch.tensor([0, 1, 1, 0])
    maps = grad_cam(network, images, labels.numpy())
    weights = output.weight[labels][:, :, None, None] / 36
    expected = (weights * convolution(images)).sum(1).clamp(min=0)
    torch.testing.assert_close(torch.from_numpy(maps), expected.detach())
    assert all(p.grad is None for p in network.parameters())


def test_a_network_without_convolution_has_no_activation_maps():
    with pytest.raises(UsageError, match=r"no torch\.nn\.Conv2d"):
        grad_cam(flat().eval(), torch.rand(1, 1, 28, 28), torch.tensor([0]).numpy())


def test_a_network_put_into_the_registry_is_rejected(monkeypatch):
    monkeypatch.setitem(MODELS, "fashion_cnn", lambda config, size, classes: Net())
    with pytest.raises(UsageError, match=r"MODELS\['fashion_cnn'\] was replaced"):
        build_model(FashionCNNConfig(), 28, 10)
    monkeypatch.undo()
    assert isinstance(build_model(FashionCNNConfig(), 28, 10), FashionCNN)
