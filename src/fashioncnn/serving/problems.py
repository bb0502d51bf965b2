"""Problem details (RFC 9457): the answer to every request that fails."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from fashioncnn.serving import schemas

MEDIA_TYPE = "application/problem+json"
DETAILS = {
    404: "there is no such resource; see /openapi.json",
    405: "the resource does not support this method",
}
"""By status, for errors that the framework raises."""
MAX_REPORTED = 3
"""Invalid parameters in a message."""
MAX_NAME_LENGTH = 100
"""Characters of a parameter's name in a message."""
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line breaks, and surrogates, which are no text."""


class ProblemError(Exception):
    """A request cannot be answered.

    Args:
        status: HTTP status code, at least 400.
        detail: what is the matter and what to do, in one sentence.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def try_again(status: int, detail: str, seconds: float) -> ProblemError:
    """Return a problem that is temporary: 429 or 503 with ``Retry-After``."""
    return ProblemError(status, detail, {"Retry-After": str(max(1, round(seconds)))})


def internal_error() -> ProblemError:
    """Return the problem of an error in the server, without its cause."""
    return ProblemError(500, "an error in the server; its log has the details under this id")


def problem_body(status: int, detail: str, request_id: str) -> bytes:
    """Return the document of a problem; text of the client in the detail stays in one line."""
    shown = CONTROLS.sub("\N{REPLACEMENT CHARACTER}", detail)
    problem = schemas.Problem(
        title=HTTPStatus(status).phrase, status=status, detail=shown, request_id=request_id
    )
    return problem.model_dump_json().encode()


def problem_response(error: ProblemError, request_id: str) -> Response:
    """Return the answer for an error."""
    body = problem_body(error.status, error.detail, request_id)
    return Response(body, error.status, error.headers, MEDIA_TYPE)


def handle_problems(app: FastAPI) -> None:
    """Make an application answer with problem details, also for errors of the framework."""

    @app.exception_handler(ProblemError)
    async def on_problem(request: Request, error: ProblemError) -> Response:
        return problem_response(error, request.state.request_id)

    @app.exception_handler(Exception)  # the middleware logs it
    async def on_error(request: Request, _: Exception) -> Response:
        return problem_response(internal_error(), request.state.request_id)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = _with_head(headers["Allow"])
        detail = DETAILS.get(error.status_code, str(error.detail))
        problem = ProblemError(error.status_code, detail, headers)
        return problem_response(problem, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(request: Request, error: RequestValidationError) -> Response:
        problem = ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, describe_validation(error))
        return problem_response(problem, request.state.request_id)


def _with_head(methods: str) -> str:
    """Return the methods of a resource, with HEAD where there is GET: the middleware answers it."""
    known = set(methods.split(", "))
    return ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))


def describe_validation(error: RequestValidationError) -> str:
    """Return the invalid parameters in one line, the first few of many."""
    return _join(
        f"{_shortened('.'.join(map(str, each['loc'])))}: {_reason(each)}" for each in error.errors()
    )


def _reason(error: Mapping[str, Any]) -> str:
    """Return what is the matter with one parameter."""
    if error["type"] == "extra_forbidden":
        return "unknown parameter; see /openapi.json"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]


def require_single(parameters: QueryParams) -> None:
    """Raise `ProblemError` if a parameter occurs more than once: one value would be ignored."""
    counts = Counter(name for name, _ in parameters.multi_items())
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        problems = (f"query.{_shortened(name)}: given more than once" for name in repeated)
        raise ProblemError(422, _join(problems))


def _join(problems: Iterable[str]) -> str:
    every = list(problems)
    others = len(every) - MAX_REPORTED
    return "; ".join([*every[:MAX_REPORTED], *([f"and {others} others"] if others > 0 else [])])


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…"
