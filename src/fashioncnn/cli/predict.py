"""``fashioncnn predict``."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, plural
from fashioncnn.cli.options import Backend, Switch, number, option_names
from fashioncnn.cli.predict_arguments import (
    HOW_TO_REDUCE,
    Sources,
    check_device,
    check_out,
    check_ray,
    check_sources,
    create_folders,
    output_format,
)
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.artifacts.spec import ModelSpec
    from fashioncnn.inference.counts import Counts
    from fashioncnn.inference.predictor import Prediction, Predictor

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
    backend: Backend = "auto",
    network: str | None = None,
    device: str = "auto",
    ray: str | None = None,
    shard_size: Annotated[int | None, number(int, minimum=1)] = None,
    json: Switch = False,
) -> None:
    """Predict the classes of images.

    Args:
        sources: Image files (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, HEIC, PPM), folders, patterns
            such as 'closet/*.jpg', IDX files of images, and - for one image on standard input.
        model: A run folder, a model folder, an .onnx file, or a bundled model.
            Default: accurate if all sources are IDX files, else photo.
        views: How an image becomes model input. cutout segments the garment and places it on
            black; pad, stretch and crop resize the whole image or its central square; photo is
            the mean over these four and their horizontal flips; fashion is the preprocessing of
            Fashion-MNIST; auto is that of the model.
        abstain_below: Confidence from 0 to 1 below which the model abstains. The confidence of
            photo is the probability that the image shows one of its classes and is classified
            correctly, that of most other models the highest class probability. Default: that of
            the model, 0 for most.
        top: Number of classes per image.
        format_: json is one document, jsonl one per line. Default: by the suffix of --out
            (.txt is a table), else table.
        out: Write the predictions to this file, which is replaced only when all are made. With
            --ray, a folder of Parquet files.
        from_file: A file with more sources, one per line or separated by zero bytes (find
            -print0); - is standard input.
        save_views: Write the model input for each image as PNG into this folder.
        explain: Write a heat map (Grad-CAM) of the predicted class for each image into this
            folder.
        max_megapixels: Reject larger images before they are decoded. JPEGs are decoded at a
            reduced size, and may have 16 times as many pixels, HEIC 4 times.
        backend: onnx is ONNX Runtime, torch is PyTorch; auto is onnx if the model has an ONNX
            file, else torch.
        network: The code of a custom network, as package.module:Class, for torch.
        device: auto, cpu, mps, cuda, or one GPU of several as cuda:1. Others than cpu need torch.
        ray: Predict on a Ray cluster, given as host:port; auto is the cluster in RAY_ADDRESS, else
            one that ray start started on this machine, else this machine alone. Needs --out. The
            same command again continues. All machines need this version of fashioncnn, and --out
            and the images under the same paths.
        shard_size: Images per Parquet file, with --ray. Default: 1024.
        json: The same as --format json.
    """
    check_sources(sources, from_file, option_names(predict))
    if ray is not None:
        others: dict[str, object] = {"--format": format_, "--json": json, "--network": network}
        others |= {"--save-views": save_views, "--explain": explain}
        check_ray(sources, from_file, out, others)
        device = check_device(device)
    elif shard_size is not None:
        raise UsageError(f"--shard-size {shard_size}: has no effect without --ray")
    elif out is not None:
        check_out(out, sources, from_file)
    format_name = "parquet" if ray else output_format(format_, json, out)
    create_folders(save_views, explain, sources)
    model = model or _default_model(sources, from_file)
    predictor = _load(
        model, backend, network, device, views, abstain_below, explain=explain is not None
    )
    images = Sources(sources, from_file, round(max_megapixels * 1e6))
    if ray is not None and out is not None:
        from fashioncnn.cli.predict_ray import predict_with_ray

        counts = predict_with_ray(ray, predictor, model, images, out, shard_size, top)
    else:
        counts = _predict(predictor, str(model), images, out, format_name, top, save_views, explain)
    from fashioncnn.cli.predict_output import conclude

    if counts.resized and _is_trained_on_fashion_mnist_only(predictor.spec):
        note(
            f"{model} was trained on Fashion-MNIST only, and is usually incorrect on photographs; "
            "use --model photo"
        )
    conclude(counts)


def _predict(
    predictor: Predictor,
    name: str,
    sources: Sources,
    out: Path | None,
    format_name: str,
    top: int,
    save_views: Path | None,
    explain: Path | None,
) -> Counts:
    """Predict all images, write the results while they are made, and return their numbers."""
    from fashioncnn.cli.predict_input import open_images
    from fashioncnn.cli.predict_output import (
        open_output,
        report_failures,
        save_images,
        show_progress,
        write_predictions,
    )
    from fashioncnn.images.files import SkippedFiles
    from fashioncnn.inference.counts import Counts

    counts, skipped = Counts(), SkippedFiles()
    with (
        open_images(sources, skipped) as images,
        show_progress(sources, out) as progress,
        open_output(out) as output,
        closing(
            predictor.predict_sources(images, sources.max_pixels, HOW_TO_REDUCE)
        ) as predictions,
    ):
        saved: Iterable[Prediction] = predictions
        if save_views is not None or explain is not None:
            saved = save_images(predictions, predictor, save_views, explain)
        counted = report_failures(progress(saved), counts)
        write_predictions(counted, output, format_name, name, predictor.spec.labels, top)
    if message := skipped.describe():
        note(message)
    if out is not None:
        note(f"wrote {out}: {plural(counts.images, 'image')}")
    return counts


def _load(
    model: Path,
    backend: Backend,
    network: str | None,
    device: str,
    views: ViewChoice,
    abstain_below: float | None,
    *,
    explain: bool,
) -> Predictor:
    """Return a predictor with the options of the command."""
    from fashioncnn.cli.models import load_for
    from fashioncnn.inference.onnx_backend import OnnxBackend
    from fashioncnn.inference.predictor import Predictor

    computes = load_for(model, backend, device, network).predictor
    if explain and isinstance(computes.backend, OnnxBackend):
        computes.backend.require_activation_maps()  # before anything is predicted
    return Predictor(computes.backend, _with_options(computes.spec, views, abstain_below))


def _default_model(sources: tuple[str, ...], from_file: str | None) -> Path:
    """Return the name of the bundled model for the sources."""
    from fashioncnn.inference.sources import only_idx

    name = "accurate" if from_file is None and only_idx(sources) else "photo"
    note(f"model: {name} (bundled)")
    return Path(name)


def _with_options(spec: ModelSpec, views: ViewChoice, abstain_below: float | None) -> ModelSpec:
    if views != "auto":
        if spec.preprocessing.views == "plain":
            raise UsageError(
                f"--views {views}: the model was trained on own data with plain views, which "
                "cannot be changed; remove --views"
            )
        preprocessing = replace(spec.preprocessing, views=views)
        spec = spec.replace(preprocessing=preprocessing, tta="flip" if views == "photo" else "none")
    return spec if abstain_below is None else spec.replace(abstain_below=abstain_below)


def _is_trained_on_fashion_mnist_only(spec: ModelSpec) -> bool:
    if spec.preprocessing.views != "fashion":
        return False
    from fashioncnn.data.dataset import FASHION_MNIST, is_dataset

    return is_dataset(spec.dataset, FASHION_MNIST)
