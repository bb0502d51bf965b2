"""``fashioncnn predict``."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, plural
from fashioncnn.cli.options import Switch, number, option_names
from fashioncnn.cli.predict_arguments import (
    STDIN,
    check_out,
    check_sources,
    create_folders,
    output_format,
    reject_model_folder,
)
from fashioncnn.cli.signals import sigterm_raises
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.inference.sources import ImageSource
    from fashioncnn.models.trained_model import TrainedModel

ViewChoice = Literal["auto", "photo", "cutout", "fashion", "pad", "stretch", "crop"]
MAX_MEGAPIXELS = 178
"""Pillow itself rejects images of more than twice its `MAX_IMAGE_PIXELS`."""


def predict(
    *sources: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: Path | None = None,
    views: ViewChoice = "auto",
    abstain_below: Annotated[float | None, number(float, minimum=0, maximum=1)] = None,
    top: Annotated[int, number(int, minimum=1)] = 3,
    format_: Annotated[
        Literal["table", "json", "jsonl", "csv"] | None, Parameter(name="--format")
    ] = None,
    out: Path | None = None,
    from_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    save_views: Path | None = None,
    explain: Path | None = None,
    max_megapixels: Annotated[float, number(float, above=0, maximum=MAX_MEGAPIXELS)] = 16,
    device: str = "auto",
    json: Switch = False,
) -> None:
    """Predict the classes of images.

    Args:
        sources: Image files (JPEG, PNG, WEBP, GIF, BMP), folders, patterns such as
            'closet/*.jpg', IDX files of images, and - for one image on standard input.
        model: A run folder, a model folder, or a bundled model (accurate, photo). Default:
            accurate if all sources are IDX files, else photo.
        views: How an image becomes model input. cutout segments the garment and places it on
            black; pad, stretch and crop resize the whole image or its central square; photo is
            the mean over these four and their horizontal flips; fashion is the preprocessing of
            Fashion-MNIST; auto is that of the model.
        abstain_below: Confidence from 0 to 1 below which the model abstains. The confidence of
            photo is the probability that the image is in distribution, that of other models the
            highest class probability. Default: that of the model, 0 for most.
        top: Number of classes per image.
        format_: json is one document, jsonl one per line. Default: by the suffix of --out
            (.txt is a table), else table.
        out: Write the predictions to this file, which is replaced only when all are made.
        from_file: A file with more sources, one per line or separated by zero bytes (find
            -print0); - is standard input.
        save_views: Write the model input for each image as PNG into this folder.
        explain: Write a heat map (Grad-CAM) of the predicted class for each image into this
            folder.
        max_megapixels: Reject larger images before they are decoded.
        device: auto, cpu, mps, cuda, or one GPU of several as cuda:1.
        json: The same as --format json.
    """
    check_sources(sources, from_file, option_names(predict))
    if out is not None:
        check_out(out, sources, from_file)
    format_name = output_format(format_, json, out)
    create_folders(save_views, explain, sources)
    path, trained = _load(model, sources, from_file, device)
    trained = _with_options(trained, views, abstain_below)
    from fashioncnn.cli.predict_output import (
        Counts,
        open_output,
        save_images,
        show_progress,
        write_predictions,
    )
    from fashioncnn.inference.predictor import predict_images

    counts, max_pixels = Counts(), round(max_megapixels * 1e6)
    with (
        sigterm_raises(),
        _open_images(sources, from_file, max_pixels) as images,
        show_progress(sources, is_complete=from_file is None, out=out) as progress,
        open_output(out) as output,
        closing(predict_images(trained, images, max_pixels)) as predictions,
    ):
        saved = save_images(predictions, trained, save_views, explain)
        counted = counts.count(progress(saved))
        write_predictions(counted, output, format_name, str(path), trained.class_names, top)
    if out is not None:
        note(f"wrote {out}: {plural(counts.total, 'image')}")
    if counts.resized and _is_trained_on_fashion_mnist_only(trained):
        note(
            f"{path} was trained on Fashion-MNIST only, and is usually incorrect on photographs; "
            "use --model photo"
        )
    counts.conclude()


def _load(
    model: Path | None, sources: tuple[str, ...], from_file: str | None, device: str
) -> tuple[Path, TrainedModel]:
    """Return the name of the model, and the model on its device."""
    from fashioncnn.runtime import prepare_prediction, require_modules, use_passive_waiting

    require_modules("predict")
    use_passive_waiting()
    from fashioncnn.inference.sources import only_idx
    from fashioncnn.models.trained_model import load_model

    if model is None:
        model = Path("accurate" if from_file is None and only_idx(sources) else "photo")
        note(f"model: {model} (bundled)")
    return model, load_model(model, prepare_prediction(device))


def _with_options(
    model: TrainedModel, views: ViewChoice, abstain_below: float | None
) -> TrainedModel:
    if views != "auto":
        if model.preprocessing.views == "plain":
            raise UsageError(
                f"--views {views}: the model was trained on images of class folders, and expects "
                "others to be prepared in the same way; remove --views"
            )
        model = replace(model, preprocessing=replace(model.preprocessing, views=views))
    return model if abstain_below is None else replace(model, abstain_below=abstain_below)


def _is_trained_on_fashion_mnist_only(model: TrainedModel) -> bool:
    from fashioncnn.data.dataset import FASHION_MNIST

    return model.dataset == FASHION_MNIST and model.preprocessing.views == "fashion"


@contextmanager
def _open_images(
    sources: tuple[str, ...], from_file: str | None, max_pixels: int
) -> Iterator[Iterator[ImageSource]]:
    """Yield the images of all sources, those of the list last."""
    from fashioncnn.images.limits import max_bytes
    from fashioncnn.inference.sources import find_sources, read_list

    limit = max_bytes(max_pixels)
    stdin = sys.stdin.buffer if STDIN in sources else io.BytesIO()
    with _open_list(from_file) as file:
        listed = map(reject_model_folder, read_list(file))
        yield chain(find_sources(sources, stdin, limit), find_sources(listed, io.BytesIO(), limit))


@contextmanager
def _open_list(from_file: str | None) -> Iterator[BinaryIO]:
    if from_file is None:
        yield io.BytesIO()
    elif from_file == STDIN:
        yield sys.stdin.buffer
    else:
        with _open_file(Path(from_file)) as file:
            yield file


def _open_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"--from-file {path}: {error.strerror}") from None
