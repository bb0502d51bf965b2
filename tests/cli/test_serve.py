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
    (line,) = err.splitlines()
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


@pytest.mark.parametrize("content", [b"secret-1", b"\xef\xbb\xbfsecret-1\r\n", b"\n secret-1 \n"])
def test_token_is_read_without_what_editors_add(tmp_path, content):
    from fashioncnn.serving.security import read_token

    (tmp_path / "token").write_bytes(content)
    assert read_token(tmp_path / "token") == "secret-1"


def test_token_file_that_is_no_file(capsys, tmp_path):
    assert "folder" in error_of(capsys, "--token-file", tmp_path, "--port", "0")


@pytest.mark.parametrize(
    "arguments",
    [("--workers", "0"), ("--workers", "two"), ("--max-megapixels", "0"), ("--max-body-mb", "-1")],
)
def test_invalid_number(capsys, arguments):
    assert " ".join(arguments) in error_of(capsys, *arguments)


def test_unusable_onnx_file(capsys, tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no model")
    assert f"{path}: not an ONNX file" in error_of(capsys, path, "--port", "0", "--workers", "2")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "https://images.example.org",
        "images.example.org:8000",
        "images.example.org/fashion",
        "a.example.org,b.example.org",
        "*.*.example.org",
        "images.*",
        "*example.org",
        ".example.org",
        "two words",
        "bücher.example",
    ],
)
def test_invalid_name_of_the_server(capsys, name):
    message = error_of(capsys, "--allowed-host", name, "--port", "0")
    assert message.startswith(f"fashioncnn: --allowed-host {name}: should be a host name, such as ")


@pytest.fixture
def options_of(monkeypatch):
    """Return a function that returns name and options of the service for some arguments."""

    def run(*arguments):
        found = []
        monkeypatch.setattr("fashioncnn.serving.run.serve", lambda *values: found.append(values))
        monkeypatch.setattr("fashioncnn.cli.serve.load_predictor", lambda *_: None)
        assert main(["serve", *map(str, arguments), "--port", "0"]) == 0
        (_, name, options, _) = found[0]
        return name, options

    return run


def test_valid_names_of_the_server(options_of):
    names = ("Images.Example.ORG", "*.example.net.", "my_host", "xn--bcher-kva.example", "*", "::1")
    arguments = [argument for name in names for argument in ("--allowed-host", name)]
    expected = (
        "images.example.org",
        "*.example.net",
        "my_host",
        "xn--bcher-kva.example",
        "*",
        "::1",
    )
    assert options_of(*arguments)[1].allowed_hosts == expected


@pytest.mark.parametrize("megabytes", [1, 32, 500, 1024])
def test_body_of_the_maximum_size_is_received(options_of, megabytes):
    _, options = options_of("--max-body-mb", megabytes)
    assert options.max_pending_bytes >= 2 * options.max_body_bytes


@pytest.mark.parametrize(
    ("path", "name"), [("photo", "photo"), ("closet", "closet"), (".", "here"), ("..", "closet")]
)
def test_name_of_the_model(options_of, tmp_path, monkeypatch, path, name):
    (tmp_path / "closet" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "closet" / "here")
    assert options_of(path)[0] == name


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "prometheus_client", "python_multipart"])
def test_missing_package(capsys, monkeypatch, module):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == module else find(name)
    )
    assert "pip install '.[serve]'" in error_of(capsys)
