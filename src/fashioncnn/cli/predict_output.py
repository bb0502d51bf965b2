"""What ``fashioncnn predict`` writes: predictions, views, explanations, progress and counts."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TextIO

from fashioncnn.cli.console import note, plural
from fashioncnn.cli.file_errors import writing
from fashioncnn.cli.predict_arguments import Sources
from fashioncnn.errors import ImageError, UsageError
from fashioncnn.files import atomic_file, remove_temporary_files, write_png
from fashioncnn.images.formats import SUFFIXES
from fashioncnn.inference.counts import Counts
from fashioncnn.inference.predictor import Prediction, Predictor
from fashioncnn.inference.sources import count_sources
from fashioncnn.reporting.predictions import FORMATS, format_table, to_record

MAX_NAME_LENGTH = 60
"""Characters of an image's name that are part of a file name."""


def report_failures(predictions: Iterable[Prediction], counts: Counts) -> Iterator[Prediction]:
    """Yield the predictions, count them, and report images that could not be read."""
    for prediction in predictions:
        counts.count(prediction)
        if prediction.error:
            note(f"skipped: {prediction.error}")
        yield prediction


def conclude(counts: Counts) -> None:
    """Report abstentions and several garments, and raise an error unless all sources were read.

    Raises:
        UsageError: no source exists.
        ImageError: images could not be read.
    """
    if counts.abstained:
        note(
            f"abstained on {counts.abstained:,} of {plural(counts.images, 'image')}: the "
            "confidence is below the threshold (--abstain-below); such an image may show none of "
            "the classes, or one that is unclear"
        )
    if counts.several:
        more = f" and {counts.more:,} more" if counts.more else ""
        note(
            "several garments, of which the largest was classified: "
            f"{', '.join(counts.several)}{more}"
        )
    if not counts.found:
        raise UsageError("predict: no image found")
    if counts.failed:
        raise ImageError(f"{counts.failed:,} of {plural(counts.images, 'image')} could not be read")


@contextmanager
def open_output(out: Path | None) -> Iterator[TextIO]:
    """Open the output: stdout, or a file that is replaced when the block succeeds."""
    if out is None:
        yield sys.stdout
        return
    target = out.resolve()  # a symbolic link stays one
    remove_temporary_files(target.parent, target.name)
    with writing("--out", out), atomic_file(target) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        yield text
        text.flush()
        text.detach()  # atomic_file closes the file


@contextmanager
def show_progress(
    sources: Sources, out: Path | None
) -> Iterator[Callable[[Iterable[Prediction]], Iterable[Prediction]]]:
    """Yield a function that passes predictions on and shows a progress bar on a terminal.

    There is no bar where the predictions themselves are printed on a terminal.

    Args:
        sources: whose images are counted for the total, unless some are in a list.
        out: the output file.
    """
    if not sys.stderr.isatty() or (out is None and sys.stdout.isatty()):
        yield lambda predictions: predictions
        return
    from fashioncnn.cli.image_bar import image_bar

    with image_bar() as bar:
        total = count_sources(sources.names) if sources.from_file is None else None
        yield lambda predictions: bar.track(predictions, total, description="predicting")


def write_predictions(
    predictions: Iterable[Prediction],
    output: TextIO,
    format_name: str,
    model: str,
    class_names: tuple[str, ...],
    top: int,
) -> None:
    """Write the predictions while they are made.

    Args:
        predictions: to write.
        output: text file; a table fits it if it is a terminal.
        format_name: key of `FORMATS`.
        model: name of the model.
        class_names: by label.
        top: classes per image.
    """
    top = min(top, len(class_names))
    records = (to_record(prediction, class_names, top) for prediction in predictions)
    write = FORMATS[format_name]
    if format_name == "table" and output.isatty():
        write = partial(format_table, width=shutil.get_terminal_size().columns)
    for text in write(records, model, top):
        output.write(text)
        output.flush()


def save_images(
    predictions: Iterable[Prediction],
    predictor: Predictor,
    save_views: Path | None,
    explain: Path | None,
) -> Iterator[Prediction]:
    """Yield the predictions; write the model input and an explanation of each into folders."""
    from fashioncnn.inference.explain import side_by_side

    for number, prediction in enumerate(predictions, 1):
        if prediction.views is not None:
            name = _file_name(number, prediction.source)
            if save_views is not None:
                with writing("--save-views", save_views / name):
                    write_png(save_views / name, side_by_side(prediction.views))
            if explain is not None:
                _explain(prediction, predictor, explain / name)
        yield prediction


def _explain(prediction: Prediction, predictor: Predictor, path: Path) -> None:
    views, probabilities = prediction.views, prediction.probabilities
    if views is None or probabilities is None:
        return
    from fashioncnn.inference.explain import caption_of, draw_explanation

    label = int(probabilities.argmax())
    name, probability = predictor.spec.labels[label], float(probabilities[label])
    caption = caption_of(name, probability, abstained=prediction.abstained)
    image = draw_explanation(predictor.backend, views, label, caption)
    with writing("--explain", path):
        write_png(path, image)


def _file_name(number: int, source: str) -> str:
    """Return a unique file name that sorts in the order of the images and is portable."""
    path = Path(source)
    name = path.stem if path.suffix.lower() in SUFFIXES else path.name
    stem = re.sub(r"[^\w.-]+", "_", name)[:MAX_NAME_LENGTH].strip("._")
    return f"{number:06}-{stem}.png"
