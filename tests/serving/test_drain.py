"""SIGTERM and Ctrl-C: accepted requests are answered, then the server ends."""

import signal
import socket
import threading

import httpx
import pytest

from .conftest import TIMEOUT, check_problem, running, wait_until
from .process import children, is_running, serving
from .test_problems import PREDICT, SlowBackend, read_response


class Load:
    """Clients that send requests until the server refuses connections."""

    def __init__(self, url, content, clients=8):
        self.answers, self.failures = [], []
        arguments = (url, content)
        self.threads = [threading.Thread(target=self.send, args=arguments) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def send(self, url, content):
        with httpx.Client(base_url=url, timeout=TIMEOUT) as client:
            while True:
                try:
                    self.answers.append(client.post("/v1/predict", content=content).status_code)
                except httpx.ConnectError:  # not accepted
                    return
                except httpx.HTTPError as error:
                    self.failures.append(error)
                    return

    def join(self):
        for thread in self.threads:
            thread.join(TIMEOUT)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_signal_under_load(tmp_path, png, number):
    with serving(tmp_path) as server:
        load = Load(server.url, png)
        wait_until(lambda: len(load.answers) > 20)
        processes = children(server.process.pid)
        assert server.end(number) == 0
        load.join()
        assert load.failures == []
        assert set(load.answers) <= {200, 429}  # as the load of the machine may be
        wait_until(lambda: not any(is_running(process) for process in processes))
        events = server.events()
        assert [e["event"] for e in events if e["event"] in ("draining", "ended")] == [
            "draining",
            "ended",
        ]
        assert server.process.stderr.read() == ""


def test_while_draining(predictor, png):
    """A request in progress and one that arrives late are answered; readiness is withdrawn."""
    from fashioncnn.inference.predictor import Predictor

    backend = SlowBackend(predictor.backend)
    backend.go.set()
    with running(Predictor(backend, predictor.spec), grace=2.0) as server:
        backend.go.clear()
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(send(server, png)))]
        threads[0].start()
        wait_until(lambda: server.server._service.admission._images == 1)
        server.uvicorn.should_exit = True
        wait_until(lambda: server.server.lifecycle.draining)
        with server.client() as client:
            check_problem(client.get("/readyz"), 503)
            assert client.get("/livez").headers["connection"] == "close"
        threads.append(threading.Thread(target=lambda: answers.append(send(server, png))))
        threads[1].start()
        wait_until(lambda: server.server._service.admission._images == 2)
        backend.go.set()
        for thread in threads:
            thread.join(TIMEOUT)
        assert [response.status_code for response in answers] == [200, 200]


def test_request_that_is_not_answered_in_time_is_503(predictor, png):
    from fashioncnn.inference.predictor import Predictor

    backend = SlowBackend(predictor.backend)
    backend.go.set()
    with running(Predictor(backend, predictor.spec), drain_seconds=1) as server:
        backend.go.clear()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(send(server, png)))
        thread.start()
        wait_until(lambda: server.server._service.admission._images == 1)
        server.uvicorn.should_exit = True
        thread.join(TIMEOUT)
        backend.go.set()
        check_problem(answers[0], 503)


def send(server, content):
    with server.client() as client:
        return client.post("/v1/predict", content=content)


def test_connection_that_the_system_has_accepted_is_answered(predictor, png):
    """Connections wait in the backlog of the socket when it is closed."""
    with running(predictor) as server:
        loop = server.uvicorn.servers[0].get_loop()
        is_blocked, go = threading.Event(), threading.Event()

        def block():
            is_blocked.set()
            go.wait(TIMEOUT)

        loop.call_soon_threadsafe(block)
        assert is_blocked.wait(TIMEOUT)
        connections = [server.connect() for _ in range(5)]
        for connection in connections:
            length = f"Content-Length: {len(png)}\r\n\r\n".encode()
            connection.sendall(PREDICT + length + png)
        server.uvicorn.should_exit = True
        go.set()
        for connection in connections:
            with connection:
                assert read_response(connection)[0] == 200


def test_unfinished_request_does_not_delay_the_end(tmp_path):
    with serving(tmp_path) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: ")
            assert server.end() == 0


def test_signal_while_the_model_loads(tmp_path):
    from .process import ServerProcess

    server = ServerProcess([], tmp_path / "log.jsonl")
    with server.process:
        assert server.end() in (0, 143)
        assert "Traceback" not in server.process.stderr.read()
