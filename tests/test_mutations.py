"""Valid files with random changes: only errors of this package escape, one line each."""

import contextlib
import gzip
import hashlib
import json
import random
import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.model_folder import read_description
from fashioncnn.config import resolve
from fashioncnn.data.idx import read_idx, stream_idx_images
from fashioncnn.errors import FashionCNNError, ModelError
from fashioncnn.evaluation.predictions import (
    SplitPredictions,
    load_predictions,
    save_predictions,
)
from fashioncnn.images.decoding import read_image
from fashioncnn.images.views import VIEW_FUNCTIONS
from fashioncnn.inference.sources import read_list
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.runs import RunFolder
from fashioncnn.tuning.parsing import read_space

FEW_AND_MANY = pytest.mark.parametrize(
    "count", [150, pytest.param(3000, marks=pytest.mark.slow)], ids=["few", "many"]
)


def mutate(content, rng):
    """Return a copy with one to four random changes: bits, bytes, numbers, cuts, repeats."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at : at + 1] = bytes([rng.choice((0, 1, 10, 34, 45, 127, 128, 255))])
        elif kind == 2:
            number = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**16, 255))
            changed[at : at + 4] = struct.pack(rng.choice((">i", "<i")), number)
        elif kind == 3:
            del changed[at : at + rng.randint(1, 20)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 100)]
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def assert_only_own_errors(use, contents):
    """Call `use` on each content; return how many were accepted."""
    accepted = 0
    for content in contents:
        try:
            use(content)
        except FashionCNNError as error:
            assert "\n" not in str(error)
        else:
            accepted += 1
    return accepted


def mutations(content, count):
    rng = random.Random(count)
    return (mutate(content, rng) for _ in range(count))


def encoded(kind, **options):
    pixels = np.random.default_rng(5).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


IMAGES = {
    "png": encoded("PNG"),
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "webp": encoded("WEBP", lossless=True),
    "gif": encoded("GIF"),
    "bmp": encoded("BMP"),
    "tiff": encoded("TIFF"),
    "tiff-lzw": encoded("TIFF", compression="tiff_lzw"),
    "avif": encoded("AVIF"),
    "ppm": encoded("PPM"),
}


@FEW_AND_MANY
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_mutated_image(kind, count):
    def use(content):
        image = read_image(BytesIO(content), "image", max_pixels=1_000_000)
        assert VIEW_FUNCTIONS["fashion"](image, 28).shape == (1, 28, 28)

    assert_only_own_errors(use, mutations(IMAGES[kind], count))


IDX = struct.pack(">BBBBIII", 0, 0, 8, 3, 5, 6, 7) + bytes(range(5 * 6 * 7))


@FEW_AND_MANY
@pytest.mark.parametrize("content", [IDX, gzip.compress(IDX)], ids=["plain", "gzip"])
def test_mutated_idx_file(tmp_path, content, count):
    path = tmp_path / "images-idx3-ubyte"

    def use(content):
        path.write_bytes(content)
        read_idx(path, 3)

    def stream(content):
        path.write_bytes(content)
        assert all(image.dtype == np.uint8 for image in stream_idx_images(path))

    assert_only_own_errors(use, mutations(content, count))
    assert_only_own_errors(stream, mutations(content, count))


@FEW_AND_MANY
def test_mutated_list_of_sources(count):
    content = b"closet/a.png\nb.png\r\n\nc d.png\n"

    def use(content):
        assert all(isinstance(name, str) for name in read_list(BytesIO(content)))

    assert_only_own_errors(use, mutations(content, count))


@pytest.fixture
def model(tmp_path, tiny_result):
    folder = tmp_path / "model"
    save_model(tiny_result.model, folder, "")
    return folder


def use_model(folder):
    """Load a model folder and predict two images with it."""
    model = load_model(folder)
    size = model.spec.preprocessing.image_size
    images = np.stack([np.zeros((size, size), np.uint8), np.full((size, size), 255, np.uint8)])
    predictions = torch_predictor(model).predict_images(images)
    assert np.isfinite(predictions.probabilities).all()
    assert np.isfinite(predictions.confidences).all()


def with_config(folder):
    def use(content):
        (folder / "config.json").write_bytes(content)
        use_model(folder)

    return use


def test_changed_byte_of_a_model_description_never_changes_the_model(model):
    content = (model / "config.json").read_bytes()
    expected, harmless = read_description(model), 0
    rng = random.Random(2)
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= rng.randrange(1, 256)
        (model / "config.json").write_bytes(changed)
        with contextlib.suppress(ModelError):
            assert read_description(model) == expected, changed
            harmless += 1
    assert harmless < 20  # white space


@FEW_AND_MANY
def test_mutated_model_description(model, count):
    content = (model / "config.json").read_bytes()
    assert_only_own_errors(with_config(model), mutations(content, count))


STRANGE = [
    *(None, True, False, -1, 0, 1, 2, 3.5, 1e-300, 1e300, -1e300, 10**30, 2**31, 4096),
    *("", "x", "NaN", [], [None], [4096] * 16, [1] * 100, {}, {"name": "residual_cnn"}),
]


def mutate_json(value, rng):
    """Return a copy of a JSON document in which one value is replaced or missing."""
    copy = json.loads(json.dumps(value))
    container = copy
    while True:
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        key = rng.choice(keys)
        inner = container[key]
        if not (isinstance(inner, dict | list) and inner) or rng.random() < 0.3:
            break
        container = inner
    if rng.random() < 0.2:
        del container[key]
    else:
        container[key] = rng.choice(STRANGE)
    return copy


@FEW_AND_MANY
def test_model_description_with_impossible_values(model, count):
    values, rng = json.loads((model / "config.json").read_text()), random.Random(count)
    values["checksum"] = None  # otherwise nothing else is validated
    documents = (json.dumps(mutate_json(values, rng)).encode() for _ in range(count))
    assert_only_own_errors(with_config(model), documents)


@pytest.mark.parametrize("fixture", ["run-0b4f578", "run-94955e9"])
def test_old_model_description_with_impossible_values(model, fixture, request):
    path = request.config.rootpath / "tests" / "fixtures" / fixture / "model" / "config.json"
    values, rng = json.loads(path.read_text()), random.Random(2)
    documents = (json.dumps(mutate_json(values, rng)).encode() for _ in range(150))
    assert_only_own_errors(with_config(model), documents)


@pytest.mark.parametrize(
    "count", [200, pytest.param(3000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_mutated_weights_with_a_matching_checksum(model, count):
    """Weights and description may both come from an attacker, so the checksum protects nothing."""
    content = (model / "model.safetensors").read_bytes()
    values = {**json.loads((model / "config.json").read_text()), "checksum": None}
    header = 8 + int.from_bytes(content[:8], "little")

    def use(mutated):
        (model / "model.safetensors").write_bytes(mutated)
        values["weights_sha256"] = hashlib.sha256(mutated).hexdigest()
        (model / "config.json").write_text(json.dumps(values))
        load_model(model)

    rng = random.Random(count)
    contents = (mutate(content[:header], rng) + content[header:] for _ in range(count))
    assert_only_own_errors(use, contents)
    assert_only_own_errors(use, mutations(content, count // 4))


SETTINGS = b"""
recipe = "own"
description = "all kinds of values"
[model]
name = "residual_cnn"
channels = [16, 64, 96]
blocks = [0, 2, 2]
flip_equivariant = true
[optimizer]
name = "sgd"
learning_rate = 1e-1
[schedule]
name = "cosine"
warmup = 0.2
[distillation]
teachers = ["a", 'b']
"""
SPACE = b"""
description = "a space"
[optimizer]
learning_rate = { low = 1e-4, high = 1e-2, log = true }
[model]
hidden = { low = 16, high = 64, step = 8 }
[training]
batch_size = { choices = [32, 64] }
"""


@FEW_AND_MANY
def test_mutated_settings(tmp_path, count):
    path = tmp_path / "own.toml"

    def use(content):
        path.write_bytes(content)
        resolve("baseline", config=path, environment={})

    assert_only_own_errors(use, mutations(SETTINGS, count))


@FEW_AND_MANY
def test_mutated_search_space(tmp_path, count):
    path = tmp_path / "own.toml"

    def use(content):
        path.write_bytes(content)
        read_space(str(path))

    assert_only_own_errors(use, mutations(SPACE, count))


@FEW_AND_MANY
def test_mutated_predictions_are_valid_or_missing(tmp_path, count):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 4)).astype(np.float32), np.arange(6, dtype=np.uint8) % 4
    stored = {"test": SplitPredictions(logits, labels, np.arange(6))}
    path = tmp_path / "predictions.npz"
    save_predictions(path, stored, {"model_sha256": "0" * 64})

    def use(content):
        path.write_bytes(content)
        predictions, identity = load_predictions(path)
        for split in predictions.values():
            assert split.logits.shape[:1] == split.labels.shape
            assert np.isfinite(split.logits).all()
        assert all(isinstance(value, str) for value in identity.values())

    assert_only_own_errors(use, mutations(path.read_bytes(), count))


@FEW_AND_MANY
def test_mutated_history_and_metrics(tmp_path, count):
    history = b'{"epoch": 1, "train_loss": 0.5}\n{"epoch": 2, "train_loss": 0.4}\n'
    metrics = b'{"schema": 1, "validation": {"n": 3}, "test": null, "summary": {"epochs": 2}}'
    run = RunFolder(tmp_path)

    def use_history(content):
        run.history.write_bytes(content)
        run.read_history()

    def use_metrics(content):
        run.metrics.write_bytes(content)
        run.is_complete()

    assert_only_own_errors(use_history, mutations(history, count))
    assert_only_own_errors(use_metrics, mutations(metrics, count))
