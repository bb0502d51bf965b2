"""``fashioncnn predict``."""

from __future__ import annotations

import inspect
import io
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, TextIO

from cyclopts import Parameter

from fashioncnn.cli.console import note
from fashioncnn.cli.signals import sigterm_raises
from fashioncnn.errors import ImageError, UsageError, nearest

if TYPE_CHECKING:
    from fashioncnn.inference.predictor import Prediction
    from fashioncnn.inference.sources import ImageSource
    from fashioncnn.models.trained_model import TrainedModel

Fit = Literal["auto", "photo", "cutout", "fashion", "pad", "stretch", "crop"]
FORMAT_OF_SUFFIX = {".json": "json", ".jsonl": "jsonl", ".csv": "csv", ".txt": "table", "": "table"}
MOST_MEGAPIXELS = 178
"""Over twice its `MAX_IMAGE_PIXELS` Pillow opens no image, and that is its own to change."""
NAME_LENGTH = 60


def predict(
    *sources: Annotated[str, Parameter(allow_leading_hyphen=True)],
    model: Path | None = None,
    fit: Fit = "auto",
    abstain_below: float | None = None,
    top: int = 3,
    format_: Annotated[
        Literal["table", "json", "jsonl", "csv"] | None, Parameter(name="--format")
    ] = None,
    out: Path | None = None,
    from_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    save_views: Path | None = None,
    explain: Path | None = None,
    max_megapixels: float = 16,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Tell what is on images.

    Parameters
    ----------
    sources
        Image files (JPEG, PNG, WEBP, GIF, BMP), folders of them, patterns such as 'closet/*.jpg',
        IDX files of images, and - for one image on standard input.
    model
        A run folder, a model folder, or the name of a model that comes with the package. Default:
        accurate where there are only IDX files, else photo.
    fit
        From photograph to network: cutout looks for the garment and sets it on black; pad, stretch
        and crop take the whole image, or the square in its middle; photo is the mean of all four
        and their mirror images; fashion is the data set's own way, which trims the border colour.
        Default: what the model was made for.
    abstain_below
        The confidence, from 0 to 1, below which the answer is "unsure": for photo how probably the
        image shows one of the classes at all, for others the probability of the likeliest class.
        Default: what the model was made with, 0 for most.
    top
        How many classes to tell for each image.
    format_
        table, json (one document), jsonl (a document a line) or csv. Default: what --out ends in,
        .txt for a table; else table.
    out
        A file for the predictions, written as a whole or not at all.
    from_file
        A file that names more sources, one a line or each ended by a zero byte (find -print0);
        - is standard input.
    save_views
        A folder for what the network saw of each image, as PNG.
    explain
        A folder for a heat map of each image (Grad-CAM): what spoke for the likeliest class.
    max_megapixels
        Larger images are refused before they are decoded.
    device
        auto, cpu, cuda, cuda:1, mps.
    json
        The same as --format json.
    """
    _check(sources, from_file, top, max_megapixels)
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise UsageError(f"--abstain-below {abstain_below:g}: must be from 0 to 1, as in 0.5")
    _check_places(sources, from_file, out, save_views, explain)
    kind = _format(format_, json, out)
    from fashioncnn.runtime import prepare_prediction, require_train_extra, use_passive_waiting

    require_train_extra()
    use_passive_waiting()
    from fashioncnn.inference.predictor import predict_images
    from fashioncnn.models.trained_model import load_model
    from fashioncnn.reporting.predictions import FORMATS, as_answer, as_table

    place = prepare_prediction(device)
    chosen = model or _default_model(sources, listed=from_file is not None)
    trained = _fitted(load_model(chosen, place), fit)
    if abstain_below is not None:
        trained = replace(trained, abstain_below=abstain_below)
    max_pixels = round(max_megapixels * 1e6)
    top = min(top, len(trained.class_names))
    names = trained.class_names
    tally = _Tally()
    naive = _knows_no_photographs(trained)
    with (
        sigterm_raises(),
        _listed(from_file) as listed,
        _progress(sources, counted=from_file is None, rows_shown=out is None) as passing,
        _output(out) as output,
        closing(
            predict_images(trained, _find(sources, listed, max_pixels), max_pixels)
        ) as predictions,
    ):
        drawn = _draw(predictions, trained, save_views, explain)
        answers = (as_answer(one, names, top) for one in tally.of(passing(drawn)))
        written = FORMATS[kind]
        if kind == "table" and out is None and sys.stdout.isatty():
            written = partial(as_table, room=shutil.get_terminal_size().columns)
        for text in written(answers, str(chosen), top):
            output.write(text)
            output.flush()
    if out is not None:
        note(f"wrote {out}: {tally.all:,} predictions" if tally.all != 1 else f"wrote {out}")
    if naive and tally.resized:
        note(
            f"{chosen} has learnt from no photographs, and takes most of them for something else; "
            "photo, which comes with the package, has: --model photo"
        )
    tally.tell()


def _fitted(model: TrainedModel, fit: Fit) -> TrainedModel:
    """Return the model with another way from photograph to network, where one is asked for."""
    if fit == "auto":
        return model
    if model.preprocessing.views == "plain":
        raise UsageError(
            f"--fit {fit}: the model learnt from whole images of class folders, and sees others "
            "as it saw those; leave --fit away"
        )
    return replace(model, preprocessing=replace(model.preprocessing, views=fit))


def _knows_no_photographs(model: TrainedModel) -> bool:
    """Whether it learnt Fashion-MNIST as it is, and is shown images as that was made."""
    from fashioncnn.data.dataset import FASHION_MNIST

    return model.dataset == FASHION_MNIST and model.preprocessing.views == "fashion"


class _Tally:
    """How many images there were, and what became of them."""

    def __init__(self) -> None:
        self.all = self.failed = self.found = self.unsure = self.resized = 0

    def of(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield the predictions, count them, and name those that could not be made."""
        for prediction in predictions:
            self.all += 1
            self.found += prediction.found
            self.unsure += prediction.abstained
            self.resized += prediction.resized
            if prediction.error:
                self.failed += 1
                note(f"skipped: {prediction.error}")
            yield prediction

    def tell(self) -> None:
        """Tell what "unsure" meant; raise where nothing was found, or not all could be read."""
        if self.unsure:
            note(
                f"unsure of {self.unsure:,}: what they show may be none of the classes "
                "(confidence in --json, bound by --abstain-below)"
            )
        if not self.found:
            raise UsageError("predict: no image found")
        if self.failed:
            raise ImageError(f"{self.failed:,} of {self.all:,} images could not be read")


def _format(format_: str | None, json: bool, out: Path | None) -> str:
    if json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_}: choose one")
    if json or format_ or out is None:
        return "json" if json else format_ or "table"
    suffix = out.suffix.lower()
    if suffix not in FORMAT_OF_SUFFIX:
        known = ", ".join(filter(None, FORMAT_OF_SUFFIX))
        raise UsageError(
            f"--out {out}: '{suffix}' tells no format; end it in one of {known}, or name one with "
            "--format"
        )
    return FORMAT_OF_SUFFIX[suffix]


def _check(sources: tuple[str, ...], from_file: str | None, top: int, megapixels: float) -> None:
    if not sources and from_file is None:
        raise UsageError("predict: name at least one image or folder")
    for source in sources:  # - stands for standard input, so that hyphens come through to here
        if source.startswith("-") and source != "-" and not Path(source).exists():
            raise UsageError(f"Unknown option: {source}{nearest(source, _options())}")
    if top < 1:
        raise UsageError(f"--top {top}: must be at least 1")
    if not 0 < megapixels <= MOST_MEGAPIXELS:
        raise UsageError(
            f"--max-megapixels {megapixels:g}: must be above 0, and at most {MOST_MEGAPIXELS}"
        )
    uses = [*sources, from_file].count("-")
    if uses > 1:
        raise UsageError("-: standard input can be read once")
    if uses and sys.stdin.isatty():
        raise UsageError("-: nothing is piped into standard input")


def _options() -> list[str]:
    names = inspect.signature(predict).parameters
    return [f"--{name.strip('_').replace('_', '-')}" for name in names if name != "sources"]


def _check_places(
    sources: tuple[str, ...],
    from_file: str | None,
    out: Path | None,
    save_views: Path | None,
    explain: Path | None,
) -> None:
    """Refuse what would fail after all the work, or be read as one of the images."""
    if out is not None and out.exists() and not out.is_file():
        raise UsageError(f"--out {out}: there is something else than a file")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {out}: no such folder {out.parent}")
    if out is not None and _is_read(out, sources):
        raise UsageError(f"--out {out}: is one of the images, or would be; name another file")
    if out is not None and from_file is not None and out.exists() and _is_read(out, (from_file,)):
        raise UsageError(f"--out {out}: is the list that --from-file reads; name another file")
    for flag, folder in (("--save-views", save_views), ("--explain", explain)):
        if folder is None:
            continue
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{flag} {folder}: not a folder")
        for source in sources:
            if Path(source).is_dir() and folder.resolve().is_relative_to(Path(source).resolve()):
                raise UsageError(
                    f"{flag} {folder}: lies in {source}, whose images are read; name a folder "
                    "elsewhere"
                )
        folder.mkdir(parents=True, exist_ok=True)
    if save_views is not None and explain is not None and save_views.samefile(explain):
        raise UsageError("--save-views and --explain: name two folders")


def _is_read(out: Path, sources: tuple[str, ...]) -> bool:
    """Whether writing there would replace what is read, or an image of any kind."""
    from fashioncnn.images.formats import SUFFIXES

    if out.suffix.lower() in SUFFIXES:
        return True
    return out.exists() and any(Path(s).is_file() and out.samefile(s) for s in sources)


def _default_model(sources: tuple[str, ...], *, listed: bool) -> Path:
    from fashioncnn.inference.sources import only_idx

    name = "accurate" if not listed and only_idx(sources) else "photo"
    note(f"model: {name}, which comes with the package")
    return Path(name)


@contextmanager
def _listed(from_file: str | None) -> Iterator[Iterable[str]]:
    """Give the sources that a list names; none without a list."""
    from fashioncnn.inference.sources import read_list

    if from_file is None:
        yield ()
    elif from_file == "-":
        yield read_list(sys.stdin.buffer)
    else:
        with _opened(Path(from_file)) as file:
            yield read_list(file)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"--from-file {path}: {error.strerror}") from None


def _find(
    sources: tuple[str, ...], listed: Iterable[str], max_pixels: int
) -> Iterator[ImageSource]:
    from fashioncnn.images.limits import max_bytes
    from fashioncnn.inference.sources import find_sources

    most = max_bytes(max_pixels)
    stdin = sys.stdin.buffer if "-" in sources else io.BytesIO()
    return chain(find_sources(sources, stdin, most), find_sources(listed, io.BytesIO(), most))


@contextmanager
def _progress(
    sources: tuple[str, ...], *, counted: bool, rows_shown: bool
) -> Iterator[Callable[[Iterable[Prediction]], Iterable[Prediction]]]:
    """Give a function that yields what it is given, and draws a bar of it on a terminal.

    None is drawn where the predictions themselves appear on it, for they tell as much.
    """
    if not sys.stderr.isatty() or (rows_shown and sys.stdout.isatty()):
        yield lambda predictions: predictions
        return
    from fashioncnn.cli.progress import image_bar
    from fashioncnn.inference.sources import count_sources

    with image_bar() as bar:
        total = count_sources(sources) if counted else None
        yield lambda predictions: bar.track(predictions, total, description="predicting")


@contextmanager
def _output(out: Path | None) -> Iterator[TextIO]:
    """Give what predictions are written to: standard output, or a file that appears when whole."""
    if out is None:
        yield sys.stdout
        return
    from fashioncnn.files import atomic_file

    with atomic_file(out.resolve()) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        yield text
        text.flush()
        text.detach()  # the file is not ours to close


def _draw(
    predictions: Iterable[Prediction],
    trained: TrainedModel,
    save_views: Path | None,
    explain: Path | None,
) -> Iterator[Prediction]:
    """Yield the predictions, and leave what was asked for of each in the folders."""
    from fashioncnn.inference.explain import explain as draw_explanation
    from fashioncnn.inference.explain import side_by_side

    for number, prediction in enumerate(predictions, 1):
        views, probabilities = prediction.views, prediction.probabilities
        if views is not None and probabilities is not None:
            name = _file_name(number, prediction.source)
            if save_views is not None:
                side_by_side(views).save(save_views / name)
            if explain is not None:
                code = int(probabilities.argmax())
                caption = f"{trained.class_names[code]} {100 * probabilities[code]:.1f}%"
                if prediction.abstained:
                    caption = f"unsure ({caption})"
                draw_explanation(trained, views, code, caption).save(explain / name)
        yield prediction


def _file_name(number: int, source: str) -> str:
    """Return a name of its own for each image, in their order, harmless to every system."""
    from fashioncnn.images.formats import SUFFIXES

    path = Path(source)
    kept = path.stem if path.suffix.lower() in SUFFIXES else path.name
    stem = re.sub(r"[^\w.-]+", "_", kept)[:NAME_LENGTH].strip("._")
    return f"{number:06}-{stem}.png"
