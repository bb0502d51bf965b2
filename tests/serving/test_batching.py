"""Images that arrive during a batch are the next batch."""

import asyncio
import threading

import pytest

from fashioncnn.inference.inputs import LoadedImage
from fashioncnn.inference.predictor import Prediction
from fashioncnn.serving.batching import Batcher


def image(name):
    return LoadedImage(str(name), None)


class Network:
    """Returns predictions in the name of their images, when it is allowed to."""

    def __init__(self):
        self.batches, self.go, self.is_busy = [], threading.Event(), threading.Event()

    def __call__(self, images):
        self.is_busy.set()
        assert self.go.wait(100)
        self.batches.append([loaded.name for loaded in images])
        if any(loaded.name == "bad" for loaded in images):
            raise ValueError("bad")
        return [Prediction(loaded.name, None, None) for loaded in images]


def run(function, max_batch=4, on_batch=lambda *_: None):
    network = Network()

    async def body():
        batcher = Batcher(network, max_batch, on_batch)
        batcher.start()
        try:
            await function(batcher, network)
        finally:
            network.go.set()
            await batcher.close()

    asyncio.run(body())
    return network.batches


async def submit(batcher, network, *names):
    """Start one image, and submit the others while it is computed."""
    first = asyncio.create_task(batcher.predict(image("first")))
    while not network.is_busy.is_set():
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(batcher.predict(image(name))) for name in names]
    await asyncio.sleep(0)
    return [first, *others]


def test_waiting_images_are_one_batch():
    sizes = []

    async def function(batcher, network):
        tasks = await submit(batcher, network, 1, 2, 3)
        network.go.set()
        assert [p.source for p in await asyncio.gather(*tasks)] == ["first", "1", "2", "3"]

    batches = run(function, on_batch=lambda images, _: sizes.append(images))
    assert batches == [
        ["first"],
        ["1", "2", "3"],
    ]
    assert sizes == [1, 3]


def test_batch_is_limited():
    async def function(batcher, network):
        tasks = await submit(batcher, network, *range(6))
        network.go.set()
        await asyncio.gather(*tasks)

    assert [len(batch) for batch in run(function)] == [1, 4, 2]


def test_error_belongs_to_its_batch():
    async def function(batcher, network):
        tasks = await submit(batcher, network, "bad", "other")
        network.go.set()
        first, bad, other = await asyncio.gather(*tasks, return_exceptions=True)
        assert first.source == "first"
        assert isinstance(bad, ValueError)
        assert isinstance(other, ValueError)
        assert (await batcher.predict(image("next"))).source == "next"

    run(function)


def test_cancelled_image_is_left_out():
    async def function(batcher, network):
        first, cancelled, other = await submit(batcher, network, "cancelled", "other")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        network.go.set()
        await asyncio.gather(first, other)

    assert run(function) == [["first"], ["other"]]
