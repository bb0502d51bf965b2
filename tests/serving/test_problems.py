"""Every request that fails is answered with problem details, and leaves the server usable."""

import json
import threading
import time
from http import HTTPStatus

import pytest

from fashioncnn.serving.options import MIB

from .conftest import check_headers, check_problem, encode, running, shirt, wait_until

MULTIPART = "multipart/form-data; boundary=limit"
PART = b'--limit\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
END = b"\r\n--limit--\r\n"


def form(name="images", filename="a.png"):
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + b"x" + END


def post(content, content_type=MULTIPART, query="", **headers):
    headers = {"content-type": content_type, **headers}
    return {"method": "POST", "url": f"/v1/predict{query}", "content": content, "headers": headers}


FAILURES = {
    "no boundary": (400, post(b"x", "multipart/form-data"), "boundary"),
    "other boundary": (400, post(b"--other\r\n\r\nx"), "malformed"),
    "end is missing": (400, post(PART + b"x"), "its end is missing"),
    "header of a part": (400, post(b"--limit\r\nno colon\r\n\r\nx" + END), "malformed"),
    "large header of a part": (
        400,
        post(form(filename="a" * 10_000)),
        "malformed multipart/form-data body: maximum header size exceeded",
    ),
    "part without a name": (
        400,
        post(b"--limit\r\nContent-Disposition: form-data\r\n\r\nx" + END),
        "name",
    ),
    "empty form": (400, post(b""), "its end is missing"),
    "unknown host": (
        400,
        {"method": "GET", "url": "/livez", "headers": {"host": "attacker.example"}},
        "--allowed-host",
    ),
    "no such path": (404, {"method": "GET", "url": "/v1/models"}, "no such resource"),
    "documentation pages": (404, {"method": "GET", "url": "/docs"}, "no such resource"),
    "path outside": (404, {"method": "GET", "url": "/../pyproject.toml"}, "no such resource"),
    "file outside": (404, {"method": "GET", "url": "/%2e%2e/app.py"}, "no such resource"),
    "get predict": (405, {"method": "GET", "url": "/v1/predict"}, "method"),
    "delete model": (405, {"method": "DELETE", "url": "/v1/model"}, "method"),
    "preflight": (405, {"method": "OPTIONS", "url": "/v1/predict"}, "method"),
    "unknown method": (405, {"method": "BREW", "url": "/livez"}, "method"),
    "text": (415, post(b"x", "text/plain"), "Content-Type text/plain"),
    "json": (415, post(b"{}", "application/json"), "multipart/form-data"),
    "url form": (415, post(b"url=http://a.example", "application/x-www-form-urlencoded"), ""),
    "gzip": (415, post(b"x", "image/png", **{"content-encoding": "gzip"}), "gzip"),
    "other field": (422, post(form(name="file")), "'file'"),
    "no file name": (422, post(form(filename=None)), "file name"),
    "no file name, large": (
        422,
        post(form(filename=None).replace(b"x" + END, b"x" * 2_000_000 + END)),
        "file name",
    ),
    "form without parts": (422, post(b"--limit--\r\n"), "images"),
    "empty image": (422, post(b"", "image/png"), "an empty file"),
    "no image": (422, post(b"hello", "image/png"), "not a JPEG"),
    "pdf": (422, post(b"%PDF-1.7", "image/png"), "a PDF"),
    "svg": (422, post(b"<svg xmlns='x'/>", "image/svg+xml"), "SVG"),
    "top is 0": (422, post(b"x", "image/png", "?top=0"), "top"),
    "top is text": (422, post(b"x", "image/png", "?top=many"), "top"),
    "top is a fraction": (422, post(b"x", "image/png", "?top=1.0"), "top"),
    "top with an underscore": (422, post(b"x", "image/png", "?top=1_0"), "top"),
    "top with a space": (422, post(b"x", "image/png", "?top=%201"), "top"),
    "top is too large": (422, post(b"x", "image/png", "?top=1000"), "top"),
    "explain": (422, post(b"x", "image/png", "?explain=perhaps"), "explain"),
    "unknown parameter": (
        422,
        post(b"x", "image/png", "?tpo=1"),
        "query.tpo: unknown parameter; see /openapi.json",
    ),
    "repeated parameter": (
        422,
        post(b"x", "image/png", "?top=1&top=2"),
        "query.top: given more than once",
    ),
    "line break in a parameter": (422, post(b"x", "image/png", "?a%0Ab=1"), "query.a\ufffdb: "),
    "many parameters": (
        422,
        post(b"x", "image/png", "?" + "&".join(f"p{i}=" for i in range(1000))),
        "; and 997 others",
    ),
    "long parameter": (422, post(b"x", "image/png", f"?{'x' * 5000}=1"), f"query.{'x' * 94}…: "),
    "long value": (422, post(b"x", "image/png", f"?top={'1' * 5000}"), "query.top: "),
    "slash at the end": (404, {"method": "GET", "url": "/livez/"}, "no such resource"),
    "slash after predict": (404, {"method": "POST", "url": "/v1/predict/"}, "no such resource"),
    "line break at the end": (404, {"method": "GET", "url": "/metrics%0A"}, "no such resource"),
    "charset that cannot be read": (
        400,
        post(form(filename="\u00e9.png"), f"{MULTIPART}; charset=undefined"),
        "use UTF-8",
    ),
    "control characters in a name": (422, post(form(filename="a\x1b[31m.png")), "a\ufffd[31m.png"),
    "line break in a name": (
        422,
        post(form(filename="a\\n.png"), f"{MULTIPART}; charset=unicode_escape"),
        "a\ufffd.png: not a JPEG",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure(client, name):
    status, request, detail = FAILURES[name]
    response = client.request(**request)
    assert detail in check_problem(response, status)
    if status == 405:
        assert response.headers["allow"]
    assert client.get("/livez").status_code == 200


def test_space_in_a_name_stays(client):
    """macOS writes narrow no-break spaces into the names of screenshots."""
    name = "Capture 12.30\u202fPM\u00a0.png"
    response = client.post("/v1/predict", files={"images": (name, b"x")})
    assert check_problem(response, 422).startswith(f"{name}: not a JPEG")


def test_surrogates_of_a_charset_are_no_text(client, png):
    """The name of a valid image is in the answer, which is UTF-8."""
    body = form(filename="a\\ud800.png").replace(b"x" + END, png + END)
    content_type = f"{MULTIPART}; charset=unicode_escape"
    response = client.post("/v1/predict", content=body, headers={"content-type": content_type})
    assert response.status_code == 200
    assert response.json()["predictions"][0]["source"] == "a?.png"


@pytest.mark.parametrize(
    "ranges", ["bytes=0-9", "bytes=999999999-", "bytes=abc", "bytes=0-1,2-3", "lines=1-2"]
)
def test_files_of_the_page_are_sent_as_a_whole(client, ranges):
    response = client.get("/", headers={"range": ranges})
    assert response.status_code == 200
    assert response.text.startswith("<!doctype html>")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "accept-ranges" not in response.headers


def test_allow_names_head(client):
    assert client.delete("/v1/model").headers["allow"] == "GET, HEAD"
    assert client.get("/v1/predict").headers["allow"] == "POST"


def raw(server, request: bytes) -> tuple[int, dict, bytes]:
    """Send bytes; return status, headers and body of the answer."""
    with server.connect() as connection:
        connection.sendall(request)
        return read_response(connection)


def read_response(connection) -> tuple[int, dict, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += (chunk := connection.recv(65536))
        assert chunk, received
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += (chunk := connection.recv(65536))
        assert chunk, body
    return int(status.split()[1]), headers, body


def read_all(connection) -> bytes:
    """Return what arrives until the other side closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def check_raw(answer, status: int) -> str:
    found, headers, body = answer
    assert found == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    problem = json.loads(body)
    assert problem["status"] == status
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["request_id"] == headers["x-request-id"]
    return problem["detail"]


PREDICT = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        PREDICT + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        PREDICT + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["tls", "text", "no host", "bad header", "length", "chunk", "two lengths"],
)
def test_malformed_http(server, request_):
    assert "malformed request" in check_raw(raw(server, request_), 400)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: " + b"x" * 1_000_000,
        b"GET /" + b"x" * 1_000_000,
    ],
    ids=["header", "path"],
)
def test_large_header(server, request_):
    assert "16 KiB" in check_raw(raw(server, request_), 431)


@pytest.mark.parametrize("size", [16384, 16385])
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "start",
    [b"GET /livez HTTP/1.1\r\nHost: localhost\r\nCookie: ", b"GET /livez?"],
    ids=["header", "query"],
)
def test_limit_on_the_header_does_not_depend_on_how_it_arrives(server, start, at_once, size):
    end = b"\r\n\r\n" if b"Cookie" in start else b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    header = start + b"x" * (size - len(start) - len(end)) + end
    with server.connect() as connection:
        for part in [header] if at_once else [header[:-1], header[-1:]]:
            connection.sendall(part)
            time.sleep(0 if at_once else 0.05)
        status, _, _ = answer = read_response(connection)
    if size > 16384:
        assert "16 KiB" in check_raw(answer, 431)
    else:
        assert status == 200


def test_malformed_http_names_the_reason(server):
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert check_raw(answer, 400) == "malformed request: found multiple Host: headers"


def test_malformed_body_of_head(server, caplog):
    """An answer to HEAD has no body, also if the request is malformed."""
    request = (
        b"HEAD /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"
    )
    with server.connect() as connection:
        connection.sendall(request)
        received = read_all(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b""
    assert not [record for record in caplog.records if record.name == "asyncio"]


LIVE = b"Host: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://localhost/livez HTTP/1.1\r\n" + LIVE, 200),
        (b"GET HTTP://127.0.0.1:80/livez?a=b HTTP/1.1\r\nHost: attacker.example\r\n\r\n", 200),
        (b"GET http://localhost HTTP/1.1\r\n" + LIVE, 200),
        (b"GET http://attacker.example/livez HTTP/1.1\r\n" + LIVE, 400),
        (b"GET http://user@localhost/livez HTTP/1.1\r\n" + LIVE, 400),
        (b"GET ftp://localhost/livez HTTP/1.1\r\n" + LIVE, 404),
        (b"GET /http://localhost/livez HTTP/1.1\r\n" + LIVE, 404),
        (b"OPTIONS * HTTP/1.1\r\n" + LIVE, 404),
        (b"CONNECT localhost:80 HTTP/1.1\r\n" + LIVE, 404),
    ],
)
def test_form_of_the_target(server, request_, status):
    """A target may be a whole URL, whose host counts (RFC 9112, 3.2.2)."""
    answer = raw(server, request_)
    assert answer[0] == status
    if status != 200:
        check_raw(answer, status)


def test_requests_in_advance_are_answered_in_order(server, png):
    post = PREDICT + f"Content-Length: {len(png)}\r\n\r\n".encode() + png
    get = b"GET /nope HTTP/1.1\r\n" + LIVE
    with server.connect() as connection:
        connection.sendall(post + get + post + get)
        received = b""
        while received.count(b"HTTP/1.1 ") < 4 or not received.endswith(b"}"):
            received += (chunk := connection.recv(65536))
            assert chunk, received
    statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"404"]


def test_body_without_100_continue(server):
    """Without it the next bytes could be a body or a request, so that the connection ends."""
    request = PREDICT.replace(b"image/png", b"text/plain")
    request += b"Expect: 100-continue\r\nContent-Length: 20\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(request)
        answer = read_response(connection)
        check_raw(answer, 415)
        assert answer[1]["connection"] == "close"
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + LIVE)
        assert connection.recv(1) == b""


def test_body_after_100_continue(server, png):
    request = PREDICT + f"Expect: 100-continue\r\nContent-Length: {len(png)}\r\n\r\n".encode()
    with server.connect() as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(png)
        answer = read_response(connection)
    assert answer[0] == 200
    assert "connection" not in answer[1]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_early_answer_reaches_a_client_that_sends_its_body_first(server, version):
    """The connection ends after the answer, and is not reset while the client sends."""
    size = 40 * MIB
    head = f"POST /v1/predict HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: image/png\r\nContent-Length: {size}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode())
        for _ in range(size // MIB):
            connection.sendall(bytes(MIB))
        answer = read_response(connection)
        assert "32 MiB" in check_raw(answer, 413)
        assert answer[1]["connection"] == "close"
        assert connection.recv(1) == b""
    wait_until(lambda: not server.uvicorn.server_state.connections)


def test_content_length_over_the_limit_is_rejected_before_the_body(server):
    request = PREDICT + b"Expect: 100-continue\r\nContent-Length: 999999999999\r\n\r\n"
    assert "32 MiB" in check_raw(raw(server, request), 413)


def test_websocket_is_no_resource(server):
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n"
    answer = raw(server, b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n")
    check_raw(answer, 404)


@pytest.fixture(scope="module")
def small(predictor):
    """A server with small limits."""
    with running(
        predictor, max_body_bytes=MIB, max_images=3, max_pixels=100_000, token="secret-1"
    ) as server:
        yield server


TOKEN = {"authorization": "Bearer secret-1"}


@pytest.mark.parametrize("content_type", ["image/png", MULTIPART])
def test_chunked_body_over_the_limit(small, content_type):
    def chunks():
        yield PART
        for _ in range(40):
            yield bytes(MIB // 16)

    with small.client() as client:
        headers = {"content-type": content_type, **TOKEN}
        response = client.post("/v1/predict", content=chunks(), headers=headers)
        assert "1 MiB" in check_problem(response, 413)
        assert client.get("/livez").status_code == 200


def test_body_over_the_limit(small):
    with small.client() as client:
        response = client.post("/v1/predict", content=bytes(3 * MIB), headers=TOKEN)
        assert "1 MiB" in check_problem(response, 413)


def test_more_images_than_allowed(small, png):
    with small.client() as client:
        images = [("images", ("a.png", png))]
        assert client.post("/v1/predict", files=images * 3, headers=TOKEN).status_code == 200
        response = client.post("/v1/predict", files=images * 4, headers=TOKEN)
        assert "more than 3 images" in check_problem(response, 413)


def test_image_with_too_many_pixels(small):
    with small.client() as client:
        content = encode(shirt(400))
        response = client.post("/v1/predict", content=content, headers=TOKEN)
        assert "160000" in check_problem(response, 422).replace("400×400", "160000")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "secret-1", "Bearer", "Bearer secret-2", "Basic secret-1", "Bearer é"],
)
def test_token(small, png, authorization):
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    with small.client() as client:
        for response in (
            client.get("/v1/model", headers=headers),
            client.post("/v1/predict", content=png, headers=headers),
        ):
            check_problem(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
            assert client.get(path, headers=headers).status_code == 200


def test_correct_token(small, png):
    with small.client() as client:
        for authorization in ("Bearer secret-1", "bearer secret-1"):
            headers = {"authorization": authorization}
            assert client.get("/v1/model", headers=headers).status_code == 200


class SlowBackend:
    """Computes when it is allowed to."""

    def __init__(self, backend):
        self.backend, self.go = backend, threading.Event()

    def logits(self, images):
        assert self.go.wait(100)
        return self.backend.logits(images)


@pytest.fixture
def blocked(predictor):
    """A predictor that waits for `backend.go`."""
    from fashioncnn.inference.predictor import Predictor

    return Predictor(SlowBackend(predictor.backend), predictor.spec)


def test_full_queue_is_429_and_the_accepted_are_answered(blocked, png):
    blocked.backend.go.set()
    with running(blocked, max_pending_images=4) as server:
        blocked.backend.go.clear()
        accepted = []
        threads = [
            threading.Thread(target=lambda: accepted.append(send(server, png))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.server._service.admission._images == 4)
        response = send(server, png)
        assert "busy" in check_problem(response, 429)
        assert int(response.headers["retry-after"]) >= 1
        blocked.backend.go.set()
        for thread in threads:
            thread.join()
        assert [response.status_code for response in accepted] == [200] * 4
        assert send(server, png).status_code == 200


def send(server, content, **arguments):
    with server.client() as client:
        return client.post("/v1/predict", content=content, **arguments)


def test_request_that_takes_too_long_is_503(blocked, png):
    blocked.backend.go.set()
    with running(blocked, request_seconds=1) as server:
        blocked.backend.go.clear()
        response = send(server, png)
        blocked.backend.go.set()
        assert "1 s" in check_problem(response, 503)
        assert response.headers["retry-after"]
        wait_until(lambda: send(server, png).status_code == 200)


def test_too_many_bytes_at_the_same_time_are_503(predictor):
    with running(predictor, max_pending_bytes=1000) as server:
        response = send(server, bytes(2000))
        check_problem(response, 503)
        assert response.headers["retry-after"]
        assert send(server, encode(shirt())).status_code == 200


def test_error_in_the_server_is_a_problem_without_details(predictor, png, caplog):
    from fashioncnn.inference.predictor import Predictor

    class Broken:
        works = True

        def logits(self, images):
            if not self.works:
                raise RuntimeError("secret of the server")
            return predictor.backend.logits(images)

    backend = Broken()
    with running(Predictor(backend, predictor.spec)) as server:
        backend.works = False
        response = send(server, png)
        detail = check_problem(response, 500)
        assert "secret" not in detail
        backend.works = True
        assert send(server, png).status_code == 200
    assert "secret of the server" in caplog.text


def test_request_id(client):
    assert (
        client.get("/livez", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    )
    for bad in ("", "a b", "x" * 65, "a\u00e9".encode()):
        given = client.get("/nope", headers={"x-request-id": bad})
        check_problem(given, 404)
        assert given.headers["x-request-id"] not in ("", bad)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1", 200),
        ("10.1.2.3:80", 200),
        ("[::1]:8000", 200),
        ("images.example.org", 200),
        ("a.example.net", 200),
        ("example.net", 400),
        ("example.org", 400),
        ("localhost.attacker.example", 400),
        ("127.0.0.1.attacker.example", 400),
        ("attacker.example:8000", 400),
        ("[::1]", 200),
        ("[::1", 400),
        ("[::1].attacker.example", 400),
        ("localhost:attacker.example", 400),
        ("localhost:80:80", 400),
        ("", 400),
    ],
)
def test_host(predictor, host, status):
    from fashioncnn.serving.security import host_check

    is_allowed = host_check(["images.example.org", "*.example.net"])
    assert is_allowed(host) == (status == 200)


def test_page_and_openapi_have_the_headers(client):
    check_headers(client.get("/openapi.json"))
    check_headers(client.get("/"))
    check_headers(client.get("/metrics"))
