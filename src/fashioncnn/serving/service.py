"""From uploads to predictions: decoding, batches of the network, images in the answer."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from fashioncnn.errors import ImageError
from fashioncnn.images.data_uri import data_uri
from fashioncnn.images.views import view_names
from fashioncnn.inference.explain import heat_maps
from fashioncnn.inference.onnx_backend import OnnxBackend
from fashioncnn.inference.predictor import Prediction, Predictor
from fashioncnn.reporting.predictions import to_record
from fashioncnn.serving.admission import Admission
from fashioncnn.serving.batching import Batcher
from fashioncnn.serving.decoding import Decoders
from fashioncnn.serving.metrics import Metrics
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import ProblemError, try_again
from fashioncnn.serving.schemas import ImagePrediction, View
from fashioncnn.serving.uploads import Upload

WARM_UP_SIDE = 64
"""Pixels of the image that is predicted before the server is ready."""


class PredictionService:
    """Predicts uploads with one model.

    Args:
        predictor: of the model.
        options: with the limits.
        metrics: that count predictions.

    Attributes:
        admission: of new requests.
    """

    def __init__(self, predictor: Predictor, options: ServerOptions, metrics: Metrics) -> None:
        self._predictor, self._options, self._metrics = predictor, options, metrics
        self.admission = Admission(options, metrics.pending.set)
        self._decoders = Decoders(
            options.decoders,
            predictor.spec.preprocessing,
            options.max_pixels,
            options.decode_seconds,
            options.decode_bytes,
            on_decoded=self.admission.record_decoding,
            on_restart=metrics.decoder_restarts.inc,
        )
        self._batcher = Batcher(predictor.predict_loaded, options.max_batch, self._on_batch)

    @property
    def can_explain(self) -> bool:
        """Whether heat maps are available; for some networks they need PyTorch."""
        backend = self._predictor.backend
        return not isinstance(backend, OnnxBackend) or backend.has_activation_maps

    async def start(self) -> None:
        """Start the processes and threads."""
        self._batcher.start()
        await self._decoders.start()

    async def warm_up(self) -> None:
        """Predict an image on every decoder, so that the first requests do not wait for imports.

        Raises:
            ImageError: a decoder does not work, for example for lack of memory.
        """
        file = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 255, (WARM_UP_SIDE, WARM_UP_SIDE, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        upload = Upload("warm-up", file.getvalue())
        count = self._options.decoders
        predictions = await asyncio.gather(*(self._predict(upload) for _ in range(count)))
        for prediction in predictions:
            if prediction.error:
                raise ImageError(prediction.error)
        self.admission.forget()

    async def close(self) -> None:
        """End the processes and threads."""
        await self._batcher.close()
        self._decoders.close()

    async def predict(
        self, uploads: Sequence[Upload], top: int, *, explain: bool, views: bool
    ) -> list[ImagePrediction]:
        """Return a prediction for each upload, in their order.

        Args:
            uploads: image files.
            top: classes per image.
            explain: whether to add a heat map for each view.
            views: whether to add each view.

        Raises:
            ProblemError: with status 429 if there are too many images in progress, 503 after
                `ServerOptions.request_seconds`, or 422 if heat maps are not available.
        """
        if explain and not self.can_explain:
            raise ProblemError(422, "explain: not available for the network of this model")
        with self.admission.images(len(uploads)):
            try:
                async with asyncio.timeout(self._options.request_seconds):
                    predictions = await asyncio.gather(*map(self._predict, uploads))
                    return [
                        await self._to_answer(prediction, top, explain=explain, views=views)
                        for prediction in predictions
                    ]
            except TimeoutError:
                raise try_again(
                    503,
                    f"no answer within {self._options.request_seconds:g} s; try again later",
                    self.admission.expected_wait,
                ) from None

    async def _predict(self, upload: Upload) -> Prediction:
        loaded = await self._decoders.decode(upload.name, upload.content)
        if loaded.views is None:
            return Prediction(loaded.name, None, loaded.error)
        return await self._batcher.predict(loaded)

    def _on_batch(self, images: int, seconds: float) -> None:
        self._metrics.batch_size.observe(images)
        self.admission.record_batch(images, seconds)

    def _count(self, prediction: Prediction) -> None:
        if prediction.error:
            self._metrics.unreadable.inc()
            return
        self._metrics.predictions.labels(prediction.name).inc()
        self._metrics.abstentions.inc(prediction.abstained)

    async def _to_answer(
        self, prediction: Prediction, top: int, *, explain: bool, views: bool
    ) -> ImagePrediction:
        self._count(prediction)
        record = to_record(prediction, self._predictor.spec.labels, top)
        if prediction.views is None or not (explain or views):
            return ImagePrediction(**record)
        images = [data_uri(view) for view in prediction.views] if views else None
        maps = await self._explain(prediction) if explain else None
        names = view_names(self._predictor.spec.preprocessing.views, len(prediction.views))
        drawn = [
            View(name=name, image=images and images[i], heat_map=maps and maps[i])
            for i, name in enumerate(names)
        ]
        return ImagePrediction(**record, views=drawn)

    async def _explain(self, prediction: Prediction) -> list[str]:
        """Return a heat map for each view, as data URIs."""
        maps = await self._batcher.run(lambda: self._activation_maps(prediction))
        return await asyncio.to_thread(lambda: [data_uri(np.asarray(image)) for image in maps])

    def _activation_maps(self, prediction: Prediction) -> list[Image.Image]:
        views, probabilities = prediction.views, prediction.probabilities
        if views is None or probabilities is None:
            return []
        return heat_maps(self._predictor.backend, views, int(probabilities.argmax()))
