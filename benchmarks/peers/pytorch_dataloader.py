"""PyTorch as most people write it: a Dataset of PIL images and a DataLoader.

Follows PyTorch's quickstart tutorial (tutorials/beginner/basics/quickstart_tutorial). torchvision
has no build for the pinned CPU torch, so `FashionMNIST` and `to_tensor` repeat the steps of
``torchvision.datasets.FashionMNIST.__getitem__`` and ``transforms.ToTensor`` for each image:
tensor → numpy → PIL image → numpy → tensor → float in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import protocol
import torch
from fashion_cnn import build_model
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class FashionMNIST(Dataset[tuple[Tensor, int]]):
    """The dataset of torchvision: a uint8 tensor in memory, a PIL image for each item."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
        self.data = torch.from_numpy(images)
        self.targets = torch.from_numpy(labels.astype(np.int64))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return a (1, 28, 28) float32 image in [0, 1] and its label."""
        image, target = self.data[index], int(self.targets[index])
        return to_tensor(Image.fromarray(image.numpy())), target


def to_tensor(image: Image.Image) -> Tensor:
    """Return what ``torchvision.transforms.ToTensor`` returns for a grey image."""
    tensor = torch.from_numpy(np.array(image, np.uint8, copy=True))
    tensor = tensor.view(image.size[1], image.size[0], len(image.getbands()))
    return tensor.permute((2, 0, 1)).contiguous().to(torch.get_default_dtype()).div(255)


def train_epoch(
    model: nn.Module,
    loader: DataLoader[Any],
    loss_fn: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> Iterator[int]:
    """Train an epoch; yield the number of images after every step."""
    model.train()
    running_loss, correct = 0.0, 0
    for images, labels in loader:
        logits = model(images)
        loss = loss_fn(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum().item())
        yield len(labels)


def evaluate(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Return the accuracy on the images of `loader`."""
    model.eval()
    correct = n = 0
    with torch.no_grad():
        for images, labels in loader:
            correct += int((model(images).argmax(1) == labels).sum().item())
            n += len(labels)
    return correct / n


def main() -> None:
    """Measure."""
    parser = protocol.make_parser(__doc__)
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    data = protocol.read_data()
    train_loader = DataLoader(
        FashionMNIST(data.train_images, data.train_labels),
        batch_size=protocol.BATCH_SIZE,
        shuffle=True,
        num_workers=options.workers,
    )
    test_loader = DataLoader(
        FashionMNIST(data.test_images, data.test_labels),
        batch_size=protocol.BATCH_SIZE,
        num_workers=options.workers,
    )
    model = build_model()
    protocol.check_parameters(sum(p.numel() for p in model.parameters()))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=protocol.LEARNING_RATE)

    def epoch() -> Iterator[int]:
        return train_epoch(model, train_loader, loss_fn, optimizer)

    if options.mode == "accuracy":
        protocol.report_epochs(options.epochs, epoch, lambda: evaluate(model, test_loader))
    else:
        packages = ("torch", "pillow", "numpy")
        name = "PyTorch, Dataset and DataLoader"
        protocol.serve_rounds(options, name, "fp32", packages, protocol.make_train_steps(epoch))


if __name__ == "__main__":
    main()
