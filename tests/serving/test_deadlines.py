"""Slow clients are disconnected, and others do not notice them."""

import contextlib
import logging
import socket
import time

import pytest

from fashioncnn.serving.options import Deadlines

from .conftest import TIMEOUT, encode, running, shirt, wait_until
from .test_problems import PREDICT, check_raw, read_response

SHORT = Deadlines(header=1.0, body=1.0, body_rate=1e6, write=1.0, keep_alive=1)


@pytest.fixture(scope="module")
def impatient(predictor):
    with running(predictor, deadlines=SHORT, max_connections=20) as server:
        yield server


def is_closed(connection) -> bool:
    """Wait until the other side has closed the connection."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


def test_header_that_does_not_arrive(impatient):
    with impatient.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: local")
        assert "header" in check_raw(read_response(connection), 408)
        assert is_closed(connection)


def test_header_that_arrives_byte_by_byte(impatient):
    with impatient.connect() as connection, contextlib.suppress(ConnectionError):
        for byte in b"GET /livez HTTP/1.1\r\nX: " + b"x" * 10_000:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                assert connection.recv(65536).startswith(b"HTTP/1.1 408")
                return
            connection.setblocking(True)
    pytest.fail("the connection was not closed")


def test_connection_without_a_request(impatient):
    with impatient.connect() as connection:
        assert connection.recv(1) == b""


def test_connection_that_ends_after_an_early_answer(impatient):
    """The server waits for the rest of a body as long as for any body, and not longer."""
    request = b"POST /nope HTTP/1.0\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    with impatient.connect() as connection:
        connection.sendall(request)
        check_raw(read_response(connection), 404)
        assert connection.recv(1) == b""
        wait_until(lambda: not impatient.uvicorn.server_state.connections)


@pytest.mark.parametrize("header", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_body_that_does_not_arrive(impatient, header):
    with impatient.connect() as connection:
        connection.sendall(PREDICT + header + b"\r\n\r\n5\r\nab")
        assert "body" in check_raw(read_response(connection), 408)
        assert is_closed(connection)


def test_rejection_has_the_id_of_its_request(impatient, caplog):
    """In answer and log, where the request has the status that the client got."""
    caplog.set_level(logging.INFO, "fashioncnn.serving")
    with impatient.connect() as connection:
        header = b"X-Request-ID: slow-1\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(PREDICT + header)
        answer = read_response(connection)
        check_raw(answer, 408)
        assert answer[1]["x-request-id"] == "slow-1"
        assert is_closed(connection)
    found = {record.message: record.values for record in caplog.records}
    assert found["rejected"] == {"request_id": "slow-1", "status": 408}
    wait_until(lambda: "request" in {record.message for record in caplog.records})
    (line,) = [record.values for record in caplog.records if record.message == "request"]
    assert (line["request_id"], line["status"]) == ("slow-1", 408)


def test_body_of_a_rejected_request_that_does_not_arrive(impatient):
    with impatient.connect() as connection:
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        check_raw(read_response(connection), 404)
        assert is_closed(connection)


def test_body_that_is_large_has_more_time(predictor):
    deadlines = Deadlines(header=60, body=0.1, body_rate=1e4)
    with running(predictor, deadlines=deadlines) as server, server.connect() as connection:
        content = encode(shirt()) + bytes(20_000)
        length = f"Content-Length: {len(content)}\r\n\r\n".encode()
        connection.sendall(PREDICT + length + content[:-1])
        time.sleep(0.5)  # more than `body`, less than the 2 s at `body_rate`
        connection.sendall(content[-1:])
        assert read_response(connection)[0] == 200


def test_idle_connection_after_a_request(impatient):
    with impatient.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert read_response(connection)[0] == 200
        assert connection.recv(1) == b""


def test_client_that_does_not_read(impatient):
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(TIMEOUT)
    with connection:
        connection.connect(impatient.address)
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
    wait_until(lambda: not impatient.uvicorn.server_state.connections)


def test_many_slow_clients_do_not_affect_others(impatient, png):
    """There are more of them than connections are allowed."""
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(impatient.connect()) for _ in range(60)]
        for number in range(30):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"G")
            with impatient.client() as client:
                assert client.post("/v1/predict", content=png).status_code == 200, number
    wait_until(lambda: not impatient.uvicorn.server_state.connections)


def test_busy_connections_over_the_limit_are_503(predictor):
    with running(predictor, max_connections=2) as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(server.connect())
            connection.sendall(PREDICT + b"Content-Length: 10\r\n\r\n")
        wait_until(lambda: sum(not c.is_idle() for c in connections(server)) == 2)
        with server.connect() as connection:
            answer = read_response(connection)
            assert "too many connections" in check_raw(answer, 503)
            assert answer[1]["retry-after"] == "1"


def connections(server):
    return list(server.uvicorn.server_state.connections)


def test_rejections_are_counted(impatient):
    with impatient.client() as client:
        lines = client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("fashioncnn_rejected_connections_total{")]
    assert any('status="408"' in line for line in counts)
