"""What ``fashioncnn serve`` reports before it serves."""

import socket

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fashioncnn.cli import main


@pytest.fixture(autouse=True)
def _never_serves(monkeypatch):
    monkeypatch.setattr("fashioncnn.serving.server.GracefulServer.run", _fail)


def _fail(*_):
    pytest.fail("serves")


def error_of(capsys, *arguments) -> str:
    code = main(["serve", *map(str, arguments)])
    assert code in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    *notes, line = err.splitlines()
    assert all(" at http://" in note or "--token-file sets a token" in note for note in notes)
    return line


def test_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = error_of(capsys, "--port", port)
    assert message == f"fashioncnn: --port {port}: in use by another program; choose another port"


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_invalid_port(capsys, port):
    assert f"--port {port}" in error_of(capsys, "--port", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a b", "x" * 300])
def test_invalid_host(capsys, host):
    assert f"--host {host}" in error_of(capsys, "--host", host, "--port", "0")


def test_missing_model(capsys):
    assert "no-such-model: no such" in error_of(capsys, "no-such-model", "--port", "0")


def test_damaged_model(capsys, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert str(tmp_path) in error_of(capsys, tmp_path, "--port", "0")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"two words\n", "one line of visible ASCII"),
        (b"two\nlines\n", "one line of visible ASCII"),
        ("Schlüssel".encode(), "one line of visible ASCII"),
        (b"\xff\xfe", "cannot be read"),
        (b"x" * 5000, "larger than the limit"),
    ],
)
def test_token_file(capsys, tmp_path, content, expected):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    message = error_of(capsys, "--token-file", path, "--port", "0")
    assert f"fashioncnn: {path}: " in message
    assert expected in message
    if content and content.strip():
        assert content[:9].decode("latin-1") not in message.replace(str(path), "")


def test_token_file_that_is_no_file(capsys, tmp_path):
    assert "folder" in error_of(capsys, "--token-file", tmp_path, "--port", "0")


@pytest.mark.parametrize(
    "arguments",
    [("--workers", "0"), ("--workers", "two"), ("--max-megapixels", "0"), ("--max-body-mb", "-1")],
)
def test_invalid_number(capsys, arguments):
    assert " ".join(arguments) in error_of(capsys, *arguments)


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_missing_package(capsys, monkeypatch, module):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == module else find(name)
    )
    assert "pip install '.[serve]'" in error_of(capsys)
