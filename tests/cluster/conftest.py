"""A job in a folder, with the images of a small dataset; no Ray process."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("ray", reason="needs the extra [ray]")
pytest.importorskip("pyarrow", reason="needs the extra [ray]")

from fashioncnn.cluster.inputs import list_inputs, write_inputs
from fashioncnn.cluster.job import Job, JobFolder
from fashioncnn.cluster.model import ModelBytes, read_model
from fashioncnn.cluster.worker import ShardPredictor
from fashioncnn.inference.sources import ImageSource
from fashioncnn.loading import open_model

IMAGES, SHARD_SIZE = 5, 2


@dataclass
class Prepared:
    """A job whose images are listed, and its model."""

    folder: JobFolder
    job: Job
    model: ModelBytes
    openings: int = 0

    def worker(self) -> ShardPredictor:
        return ShardPredictor(str(self.folder.path), self.job, self.get_model, "resize it")

    def get_model(self) -> ModelBytes:
        self.openings += 1
        return self.model


@pytest.fixture
def images(small) -> list[str]:
    """Four images and a file that is none, by name."""
    Path("images").mkdir()
    names = [f"images/{number}.png" for number in range(IMAGES)]
    for name, pixels in zip(names, small.test.images, strict=False):
        Image.fromarray(pixels).save(name)
    Path(names[3]).write_bytes(b"text")
    return names


@pytest.fixture
def prepared(images, onnx_folder) -> Prepared:
    """The job of predicting `images`."""
    opened = open_model(onnx_folder)
    model = read_model(onnx_folder, "onnx", opened.spec)
    folder = JobFolder(Path("predictions").absolute())
    folder.inputs.mkdir(parents=True)
    listing = list_inputs(
        (ImageSource(name, Path(name)) for name in images),
        SHARD_SIZE,
        lambda shard, inputs: write_inputs(folder.input_list(shard), inputs),
    )
    job = Job(
        version="1",
        model="model",
        model_sha256=model.sha256,
        backend="onnx",
        views="fashion",
        abstain_below=0.0,
        top=2,
        max_pixels=1000,
        shard_size=SHARD_SIZE,
        folder=str(Path.cwd()),
        images=listing.images,
        inputs_sha256=listing.sha256,
        probe=listing.probe,
    )
    folder.write_job(job)
    return Prepared(folder, job, model)
