"""``fashioncnn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import PictureError, UsageError

if TYPE_CHECKING:
    from fashioncnn.inference.predictor import Prediction


def predict(
    *sources: str,
    model: Path | None = None,
    top: int = 3,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Tell what is on pictures.

    Parameters
    ----------
    sources
        Picture files (JPEG, PNG, WEBP, GIF, BMP), and folders of them.
    model
        A run folder or a model folder. Default: the newest finished run in runs/.
    top
        How many classes to tell for each picture.
    device
        auto, cpu, cuda, cuda:1, mps.
    json
        Print the predictions as one JSON document.
    """
    if not sources:
        raise UsageError("predict: name at least one picture or folder")
    if top < 1:
        raise UsageError(f"--top {top}: must be at least 1")
    from fashioncnn.runtime import prepare_prediction, require_train_extra

    require_train_extra()
    from fashioncnn.inference.predictor import expand_sources, predict_files
    from fashioncnn.models.store import load_model

    paths = expand_sources(sources)
    folder = model or _newest_run()
    trained = load_model(folder, prepare_prediction(device))
    predictions = []
    failed = 0
    for prediction in predict_files(trained, paths):
        if prediction.error:
            failed += 1
            note(f"skipped: {prediction.error}")
        predictions.append(_as_json(prediction, trained.class_names, top))
    if json:
        name = str(folder)
        print_json({"schema": 1, "model": name, "predictions": predictions})
    elif failed < len(predictions):
        print_tables([_table(predictions, top)])
    if failed:
        raise PictureError(f"{failed} of {len(predictions)} pictures could not be read")


def _newest_run() -> Path:
    finished = [path.parent for path in Path("runs").glob("*/metrics.json")]
    if not finished:
        raise UsageError("no --model given, and no finished run in runs/; train one, or name one")
    newest = max(finished, key=lambda path: (path / "metrics.json").stat().st_mtime)
    note(f"model: {newest}, the newest finished run")
    return newest


def _as_json(prediction: Prediction, class_names: tuple[str, ...], top: int) -> dict[str, Any]:
    likeliest: list[dict[str, Any]] = []
    if prediction.probabilities is not None:
        order = (-prediction.probabilities).argsort(kind="stable")[:top]
        likeliest = [
            {
                "code": int(code),
                "name": class_names[code],
                "probability": float(prediction.probabilities[code]),
            }
            for code in order
        ]
    return {
        "source": prediction.source,
        "top": likeliest,
        "abstained": False,
        "error": prediction.error,
    }


def _table(predictions: list[dict[str, Any]], top: int) -> Any:
    from fashioncnn.reporting.tables import Table, percent

    header = ("Picture", *(f"{rank}." for rank in range(1, top + 1)))
    rows = tuple(
        (p["source"], *(f"{c['name']} {percent(c['probability'])}" for c in p["top"]))
        for p in predictions
        if not p["error"]
    )
    width = max(len(row) for row in rows)
    return Table("Predictions", header[:width], rows, "l")
