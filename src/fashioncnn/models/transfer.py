"""Transfer learning: weights of a trained network in one with other classes, and frozen layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fashioncnn.errors import UsageError


def last_layer(network: nn.Module) -> tuple[str, nn.Module]:
    """Return the name and the module of the last layer that has parameters: the classifier.

    Every other layer is part of the backbone, which computes features.
    """
    layers = [
        (name, module)
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    return layers[-1]


def require_head(network: nn.Module, classes: int, name: str) -> None:
    """Raise `UsageError` unless the last layer has a row for each class.

    Args:
        network: of any code, whose layers may be in another order than they are called.
        classes: number of logits.
        name: of the network.
    """
    layer, module = last_layer(network)
    if any(p.shape[:1] != (classes,) for p in module.parameters(recurse=False)):
        raise UsageError(
            f"network {name}: its last layer in order of registration is {layer}, which does not "
            f"compute {classes} logits; create the layer that does last"
        )


def split_parameters(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters of the backbone, and those of the last layer."""
    head = list(last_layer(network)[1].parameters())
    in_head = {id(parameter) for parameter in head}
    backbone = [p for p in network.parameters() if id(p) not in in_head]
    return [p for p in backbone if p.requires_grad], [p for p in head if p.requires_grad]


def freeze_features(network: nn.Module) -> None:
    """Exclude every parameter but those of the last layer from training."""
    network.requires_grad_(False)
    last_layer(network)[1].requires_grad_(True)


def set_training_mode(network: nn.Module) -> None:
    """Put a network into training mode, and its frozen layers into evaluation mode.

    A frozen batch norm thus keeps its statistics and normalizes with them.
    """
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()


def transfer_weights(
    network: nn.Module,
    weights: dict[str, Tensor],
    class_names: Sequence[str],
    trained_classes: Sequence[str],
) -> None:
    """Load the weights of a trained network into one that may have other classes.

    The rows of the last layer are kept for classes of the same name. Those of new classes become 0:
    they start with the same logit, whatever the image, and the first steps do not distort the
    features.

    Args:
        network: changed in place.
        weights: state dict of the trained network.
        class_names: of `network`, by label.
        trained_classes: of the trained network, by label.

    Raises:
        UsageError: the weights do not fit, as described by `check_transfer`.
    """
    check_transfer(network, weights, class_names, trained_classes)
    if list(class_names) != list(trained_classes):
        prefix = f"{last_layer(network)[0]}."
        weights = {
            name: _select_rows(tensor, class_names, trained_classes)
            if name.startswith(prefix)
            else tensor
            for name, tensor in weights.items()
        }
    network.load_state_dict(weights)


def check_transfer(
    network: nn.Module,
    weights: dict[str, Tensor],
    class_names: Sequence[str],
    trained_classes: Sequence[str],
) -> None:
    """Raise `UsageError` if the weights do not fit, apart from the rows of the last layer.

    Args:
        network: may be on the meta device.
        weights: state dict of the trained network.
        class_names: of `network`, by label.
        trained_classes: of the trained network, by label.
    """
    prefix = f"{last_layer(network)[0]}."
    state = network.state_dict()
    for name in sorted(state.keys() | weights.keys()):
        expected = list(state[name].shape) if name in state else None
        given = list(weights[name].shape) if name in weights else None
        if expected and given and name.startswith(prefix):
            fits = given[0] == len(trained_classes) and expected[0] == len(class_names)
            if fits and given[1:] == expected[1:]:
                continue
        elif expected == given:
            continue
        raise UsageError(
            f"the weights to start from do not fit the network: {name} has shape "
            f"{given or 'none'}, should have {expected or 'none'}"
        )


def _select_rows(
    tensor: Tensor, class_names: Sequence[str], trained_classes: Sequence[str]
) -> Tensor:
    """Return a row for each of `class_names`: that of the trained class of this name, or 0."""
    rows = torch.zeros(len(class_names), *tensor.shape[1:], dtype=tensor.dtype)
    for row, name in enumerate(class_names):
        if name in trained_classes:
            rows[row] = tensor[trained_classes.index(name)].to("cpu")
    return rows
