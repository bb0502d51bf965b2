"""``fashioncnn export``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fashioncnn.cli.console import note, print_json, print_text
from fashioncnn.cli.options import Switch
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fashioncnn.artifacts.model_folder import ModelDescription
    from fashioncnn.cli.export_data import Source
    from fashioncnn.models.export import ExportedModel


def export(
    model: Path,
    /,
    *,
    int8: Switch = False,
    out: str | None = None,
    data: str | None = None,
    network: str | None = None,
    skip_broken: Switch = False,
    offline: Switch = False,
    json: Switch = False,
) -> None:
    """Write a model as one ONNX file.

    Args:
        model: A run folder, a model folder, or a bundled model.
        int8: Quantize to 8-bit integers, calibrated on training images; needs --data.
        out: An .onnx file, or a folder, as in --out closet/, for the layout of the Hugging Face
            Hub: config.json, model.safetensors, model.onnx and README.md. Default: model.onnx in
            the model folder, which predict then uses; NAME.onnx in the current folder for a bundled
            model, NAME-int8.onnx for --int8.
        data: Images to verify on; with --int8 the training data. Folder of class folders or IDX
            files, CSV or .npz file, or sketches. Default: 1,000 generated images.
        network: The code of a custom network, as package.module:Class.
        skip_broken: Leave out image files that cannot be read.
        offline: Do not download data.
        json: Print the result as one JSON document.
    """
    from fashioncnn.artifacts.model_folder import find_model, is_onnx_file, read_description
    from fashioncnn.cli.export_data import Source
    from fashioncnn.cli.export_target import choose_target
    from fashioncnn.environment import require_modules

    require_modules("export")
    if int8 and data is None:
        raise UsageError("--int8: needs training images to calibrate on; name them with --data")
    folder = find_model(model)
    if is_onnx_file(folder):
        raise UsageError(f"{model}: is an ONNX file already; name a run or model folder")
    target = choose_target(model, folder, out, int8=int8)
    source = Source(data, skip_broken=skip_broken, offline=offline)
    exported = _export(model, read_description(folder), source, network, int8=int8)
    with _lock(folder, target.path):
        target.write(exported.content)
    _report(exported, target.path, json)


def _export(
    model: Path, description: ModelDescription, source: Source, network: str | None, *, int8: bool
) -> ExportedModel:
    """Return the verified ONNX file of a model."""
    from fashioncnn.cli.models import load_with_torch
    from fashioncnn.models.export import export_int8, export_model

    trained = load_with_torch(model, "cpu", network)
    if int8:
        calibration, validation, name = source.calibration_and_validation(model, trained.spec)
        return export_int8(trained, description, calibration, validation, name)
    images = source.images(trained.spec)
    if images is None:
        return export_model(trained, description)
    return export_model(trained, description, *images)


def _lock(folder: Path, target: Path) -> AbstractContextManager[None]:
    """Return the lock of the run that contains the model folder, if the file is written there."""
    from fashioncnn.runs import RunFolder

    run = RunFolder(folder.resolve().parent)
    inside = target.resolve().parent == folder.resolve()
    return run.lock() if inside and run.config.exists() else nullcontext()


def _report(exported: ExportedModel, path: Path, json: bool) -> None:
    record = exported.record
    verification = record.verification
    if json:
        print_json(
            {
                "schema": record.schema_,
                "path": str(path),
                "precision": record.precision,
                "bytes": len(exported.content),
                "bytes_fp32": exported.bytes_fp32,
                "calibration": exported.calibration,
                "speedup": exported.speedup,
                "verification": verification.model_dump(mode="json"),
            }
        )
        return
    print_text(f"{path}: {record.precision}, {len(exported.content) / 1e6:.2f} MB")
    print_text(
        f"compared with PyTorch on {verification}: logits differ by at most "
        f"{verification.max_difference:.2g}, {verification.agreement:.2%} of the classes agree"
    )
    if exported.speedup is not None and exported.bytes_fp32 is not None:
        print_text(
            f"accuracy {verification.accuracy:.2%}, in fp32 {verification.accuracy_fp32:.2%}; "
            f"calibration {exported.calibration}; {exported.speedup:.2f} times as fast as fp32 "
            f"({exported.bytes_fp32 / 1e6:.2f} MB)"
        )
        if exported.speedup < 1:
            note("int8 is slower than fp32 on this processor")
