"""How a dataset is loaded."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fashioncnn.images.views import ViewMode
from fashioncnn.settings import DataConfig

Notify = Callable[[str], None]
"""Called with a one-line message about what was skipped or could be mistaken."""


CheckClasses = Callable[[Sequence[str], str], None]
"""Called with class names and the source of the data; raises an error if they cannot be used."""


def warn(message: str) -> None:
    """Report a message as a Python warning."""
    warnings.warn(message, UserWarning, stacklevel=2)


def ignore(message: str) -> None:
    """Report nothing."""


Track = Callable[[Iterable[Any], int], Iterable[Any]]
"""Called with the results of reading image files and their number; returns the results."""


def without_progress(results: Iterable[Any], total: int) -> Iterable[Any]:  # noqa: ARG001
    """Return the results; see `Track`."""
    return results


def accept_classes(names: Sequence[str], source: str) -> None:
    """Accept the classes of any data."""


@dataclass(frozen=True)
class ClassMap:
    """What becomes of the classes of a dataset once it is loaded.

    Attributes:
        mapping: classes of the model by class of the data, see
            `fashioncnn.data.alignment.align_classes`.
        classes: of the model, in order; None for those of the data, mapped.
        rehearsal: whether Fashion-MNIST's training images are added as `Dataset.rehearsal`.
        rehearsal_source: folder of its IDX files; None is ``FASHIONCNN_DATA`` if it has them, else
            the cache, then a download.
        required: names in `mapping` that the data has to have; others, as of a recipe for more
            classes, have no effect.
    """

    mapping: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    rehearsal: bool = False
    rehearsal_source: str | None = None
    required: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LoadOptions:
    """Options of all loaders; those that do not apply to a source have no effect on it.

    Attributes:
        image_size: side in pixels to which images are resized; None is that of arrays, and 28 for
            image files.
        for_evaluation: a source without named splits is a test split as a whole. Otherwise it is a
            training split, of which one sixth is held out as the test split.
        skip_broken: report image files that cannot be read, and leave them out.
        class_names: the order of the classes of a source that has exactly these; by default natural
            order.
        notify: called with messages for the user.
        views: how image files are converted, see `fashioncnn.images.views`.
        channels: of image files: 1 for grayscale, 3 for color.
        hold_out_min: images per class, on average, below which no test split is held out.
        check_classes: called with the class names and the source before image files are decoded,
            which takes minutes for thousands of photographs; it may raise an error.
        track: shows the progress of reading image files.
    """

    image_size: int | None = None
    for_evaluation: bool = False
    skip_broken: bool = False
    class_names: tuple[str, ...] = ()
    notify: Notify = warn
    views: ViewMode = "plain"
    channels: int = 1
    hold_out_min: int = 0
    check_classes: CheckClasses = accept_classes
    track: Track = without_progress


def load_arguments(data: DataConfig) -> dict[str, Any]:
    """Return the arguments of `fashioncnn.data.load.load_dataset` that settings decide."""
    return {
        "image_size": data.image_size,
        "skip_broken": data.skip_broken,
        "views": "plain" if data.views == "auto" else data.views,
        "channels": data.channels,
        "hold_out_min": data.hold_out_min,
        "class_map": class_map_of(data),
    }


def class_map_of(data: DataConfig) -> ClassMap | None:
    """Return the class map of the settings; None if there is nothing to change."""
    if not (data.map or data.classes or data.rehearsal):
        return None
    return ClassMap(data.map or {}, data.classes, bool(data.rehearsal), data.rehearsal_source)
