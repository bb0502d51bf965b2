"""The HTTP API and the page."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError
from starlette.routing import Route

from fashioncnn._version import __version__
from fashioncnn.images.formats import FORMATS
from fashioncnn.inference.predictor import Predictor
from fashioncnn.reading import read_bytes
from fashioncnn.serving import metrics, schemas
from fashioncnn.serving.logs import log
from fashioncnn.serving.middleware import Lifecycle, RequestMiddleware
from fashioncnn.serving.openapi import PREDICT_REQUEST, describe_problems
from fashioncnn.serving.options import ServerOptions
from fashioncnn.serving.problems import (
    ProblemError,
    handle_problems,
    require_single,
    try_again,
)
from fashioncnn.serving.security import check_token
from fashioncnn.serving.service import PredictionService
from fashioncnn.serving.uploads import read_uploads
from fashioncnn.settings import SCHEMA

PAGE = Path(__file__).parent / "page"
"""Static files of the page."""
MAX_PAGE_FILE = 1 << 20
"""Limit on each of them in bytes."""
BEARER = HTTPBearer(auto_error=False, description="The token of the server.")
"""Declares the token in the OpenAPI document."""
INDEX = "index.html"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
"""Of the page's files, whatever this system has registered for their suffixes."""
MAX_TOP = 256
"""Limit on the classes per image; models have at most as many."""


def _parse_integer(text: object) -> object:
    """Return the integer in a query parameter; pydantic alone accepts ``1.0`` and ``1_0``, too."""
    if isinstance(text, str) and not re.fullmatch(r"[+-]?[0-9]{1,9}", text):
        raise PydanticKnownError("int_parsing")
    return text


class PredictQuery(BaseModel):
    """Query parameters of ``POST /v1/predict``."""

    model_config = ConfigDict(extra="forbid")

    top: Annotated[int, BeforeValidator(_parse_integer)] = Field(
        3, ge=1, le=MAX_TOP, description="Number of classes per image."
    )
    explain: bool = Field(False, description="Add a heat map for each view.")
    views: bool = Field(False, description="Add each view, the model input.")


class Server:
    """A model with its HTTP application.

    Args:
        predictor: of the model.
        name: of the model.
        options: of the service.

    Attributes:
        app: the ASGI application.
        lifecycle: whether it is ready, or ends.
        metrics: of this process.
    """

    def __init__(self, predictor: Predictor, name: str, options: ServerOptions) -> None:
        self._name, self._options, self._spec = name, options, predictor.spec
        self.lifecycle, self.metrics = Lifecycle(), metrics.Metrics()
        self._service = PredictionService(predictor, options, self.metrics)
        api = FastAPI(
            title="fashioncnn",
            version=__version__,
            summary=f"Classifies images with the model {name}.",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,  # to an address that may be another one behind a proxy
            lifespan=self._lifespan,
            responses=describe_problems(400, 405, 408, 431, 503),  # of any connection
        )
        handle_problems(api)
        api.include_router(self._health_routes())
        api.include_router(self._model_routes())
        api.router.routes.extend(_page_routes())
        self.app = RequestMiddleware(api, options, self.metrics, self.lifecycle)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        await self._service.start()
        warm_up = asyncio.get_running_loop().create_task(self._warm_up())
        yield
        warm_up.cancel()
        await self._service.close()

    async def _warm_up(self) -> None:
        try:
            await self._service.warm_up()
        except Exception:
            log("warm-up failed", logging.ERROR)
            return
        self.lifecycle.ready = True
        log("ready", model=self._name)

    def _health_routes(self) -> APIRouter:
        router = APIRouter(tags=["health"])

        @router.get("/livez", response_model=schemas.Status)
        async def livez() -> Response:
            """Whether the process answers."""
            return JSONResponse(schemas.Status().model_dump())

        @router.get("/readyz", response_model=schemas.Status)
        async def readyz() -> Response:
            """Whether the server accepts requests: not before its warm-up nor while it ends."""
            if self.lifecycle.draining:
                raise try_again(503, "the server ends", 1)
            if not self.lifecycle.ready:
                raise try_again(503, "the server starts", 1)
            return JSONResponse(schemas.Status().model_dump())

        @router.get(
            "/metrics",
            response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        )
        def export_metrics() -> Response:
            """Metrics for Prometheus."""
            return Response(self.metrics.export(), headers={"Content-Type": metrics.CONTENT_TYPE})

        return router

    def _model_routes(self) -> APIRouter:
        def authorize(request: Request) -> None:
            check_token(request.headers.get("authorization"), self._options.token)

        router = APIRouter(prefix="/v1", tags=["model"])
        if self._options.token is not None:
            router.dependencies += [Depends(BEARER), Depends(authorize)]
            router.responses |= describe_problems(401)

        @router.get("/model", response_model=schemas.ModelInfo)
        async def model() -> Response:
            """The model and the limits of the server."""
            return _json(self._model_info())

        @router.post(
            "/predict",
            response_model=schemas.PredictionList,
            responses=describe_problems(413, 415, 422, 429),
            openapi_extra=PREDICT_REQUEST,
        )
        async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Response:
            """Predict the classes of images.

            One image that cannot be read is an error; of several, each gets its own answer.
            """
            require_single(request.query_params)
            return await self._predict(request, query)

        return router

    async def _predict(self, request: Request, query: PredictQuery) -> Response:
        self._service.admission.check()
        with self._service.admission.body() as count:
            uploads = await read_uploads(request, self._options, count)
            predictions = await self._service.predict(
                uploads, query.top, explain=query.explain, views=query.views
            )
        if len(predictions) == 1 and predictions[0].error:
            raise ProblemError(422, predictions[0].error)
        return _json(
            schemas.PredictionList(schema=SCHEMA, model=self._name, predictions=predictions)
        )

    def _model_info(self) -> schemas.ModelInfo:
        spec, options = self._spec, self._options
        return schemas.ModelInfo(
            schema=SCHEMA,
            name=self._name,
            version=__version__,
            architecture=spec.architecture.name,
            dataset=spec.dataset,
            labels=list(spec.labels),
            image_size=spec.preprocessing.image_size,
            channels=spec.preprocessing.channels,
            views=spec.preprocessing.views,
            tta=spec.tta,
            temperature=spec.temperature,
            abstain_below=spec.abstain_below,
            confidence=spec.confidence,
            has_ood_detector=spec.ood_detector is not None,
            can_explain=self._service.can_explain,
            formats=FORMATS,
            limits=schemas.Limits(
                max_images=options.max_images,
                max_body_bytes=options.max_body_bytes,
                max_pixels=options.max_pixels,
            ),
        )


def _page_routes() -> list[Route]:
    """Return a route for each file of the page; another path does not exist."""

    def route(file: Path) -> Route:
        content, media_type = read_bytes(file, MAX_PAGE_FILE), MEDIA_TYPES[file.suffix]

        async def send_file(_: Request) -> Response:
            return Response(content, media_type=media_type)  # as a whole, whatever its Range

        return Route("/" + file.relative_to(PAGE).as_posix().removesuffix(INDEX), send_file)

    return [route(file) for file in sorted(PAGE.rglob("*")) if file.is_file()]


def _json(document: BaseModel) -> Response:
    """Return a document with the keys that were set."""
    content = document.model_dump_json(by_alias=True, exclude_unset=True)
    return Response(content, media_type="application/json")
