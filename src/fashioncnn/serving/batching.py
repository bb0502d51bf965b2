"""Collects images of all requests into batches of the network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from fashioncnn.inference.inputs import LoadedImage
from fashioncnn.inference.predictor import Prediction

Result = TypeVar("Result")
Waiting = tuple[LoadedImage, "asyncio.Future[Prediction]"]


class Batcher:
    """Predicts images in one thread, in batches of all that arrived during the batch before.

    There is no delay: on an idle server an image is predicted at once, alone.

    Args:
        predict: returns the predictions for images that were read.
        max_batch: images in one batch.
        on_batch: called with the number of images of each batch, and the seconds it took.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[LoadedImage]], list[Prediction]],
        max_batch: int,
        on_batch: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        self._predict, self._max_batch, self._on_batch = predict, max_batch, on_batch
        self._thread = ThreadPoolExecutor(1, "network")
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to take images."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def predict(self, image: LoadedImage) -> Prediction:
        """Return the prediction for an image that was read."""
        future: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((image, future))
        return await future

    async def run(self, function: Callable[[], Result]) -> Result:
        """Return the result of a function that uses the network, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def close(self) -> None:
        """Stop, without waiting for images."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < self._max_batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            batch = [(image, future) for image, future in batch if not future.done()]
            if batch:
                await self._predict_batch(batch)

    async def _predict_batch(self, batch: list[Waiting]) -> None:
        images = [image for image, _ in batch]
        started = time.perf_counter()
        try:
            predictions = await self.run(lambda: self._predict(images))
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        self._on_batch(len(batch), time.perf_counter() - started)
        for (_, future), prediction in zip(batch, predictions, strict=True):
            if not future.done():  # its request may have been cancelled
                future.set_result(prediction)
