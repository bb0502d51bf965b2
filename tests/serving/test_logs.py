"""The log is one JSON document per line, whatever a client sends."""

import io
import json
import logging
from contextlib import contextmanager

import pytest

from fashioncnn.serving.logs import LEVELS, log, start_logging

from .conftest import running


@pytest.fixture
def lines():
    """The documents that were written, after the listener has stopped."""
    stream = io.StringIO()
    with restored_loggers():
        listener = start_logging(stream)

        def read():
            listener.stop()
            return [json.loads(line) for line in stream.getvalue().splitlines()]

        yield read


@contextmanager
def restored_loggers():
    """Undo what `start_logging` changes."""
    loggers = [logging.getLogger(name) for name in LEVELS]
    before = [(each, each.handlers, each.propagate, each.level) for each in loggers]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_line(lines):
    log("request", status=200, path='/a"\n{\x1b[31m')
    (line,) = lines()
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "event": "request", "status": 200, "path": '/a"\n{\x1b[31m'}


def test_error_has_its_traceback(lines):
    try:
        raise ValueError("cause")
    except ValueError:
        log("error", logging.ERROR, request_id="abc")
    (line,) = lines()
    assert line["level"] == "error"
    assert "ValueError: cause" in line["traceback"]


def test_uvicorn_writes_warnings_only(lines):
    logger = logging.getLogger("uvicorn.error")
    logger.info("started")
    logger.warning("strange")
    assert [line["event"] for line in lines()] == ["strange"]


def test_libraries_write_no_other_lines(lines, capfd):
    """Python writes warnings of loggers without a handler to stderr."""
    logging.getLogger("asyncio").error("connection lost")
    logging.getLogger("python_multipart.multipart").warning("text of a client")
    assert [line["event"] for line in lines()] == ["connection lost"]
    assert capfd.readouterr() == ("", "")


def test_stream_that_fails_does_not_stop_the_server():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError("no space left")

    with restored_loggers():
        listener = start_logging(Full())
        log("lost")
        listener.stop()


def test_requests_have_the_id_of_their_answer(predictor, lines, png):
    with running(predictor, token="secret-1") as server, server.client() as client:
        answers = [
            client.get("/livez", headers={"x-request-id": "mine"}),
            client.post("/v1/predict?top=1", content=png),
            client.get("/%0a%1b[31m" + "x" * 1000),
        ]
    requests = [line for line in lines() if line["event"] == "request"]
    assert [line["request_id"] for line in requests] == [a.headers["x-request-id"] for a in answers]
    assert [line["status"] for line in requests] == [200, 401, 404]
    assert requests[0]["request_id"] == "mine"
    assert requests[1]["path"] == "/v1/predict"
    assert len(requests[2]["path"]) == 200
    for line in requests:
        assert line["client"] == "127.0.0.1"
        assert line["ms"] >= 0
        assert "secret" not in json.dumps(line)
