"""No command opens a network connection, except for a download that the user requested."""

import socket

import pytest

from .conftest import NO_EPOCHS


@pytest.fixture
def addresses(monkeypatch):
    """Addresses that were looked up or connected to; each such call fails."""
    found = []

    def reject(*arguments, **_):
        found.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", reject)
    monkeypatch.setattr(socket.socket, "connect", reject)
    monkeypatch.setattr(socket.socket, "connect_ex", reject)
    return found


def test_commands_open_no_connection(cli, addresses, trained, tmp_path):
    cli.ok("train", "--data", "sketches", "--out", tmp_path / "run", *NO_EPOCHS, "--epochs", "1")
    cli.ok("evaluate", trained, "--json")
    cli.ok("report", trained, "--out", tmp_path / "report")
    cli.ok("data", "sketches")
    cli("predict", "missing.png", "--model", trained)
    cli.fails(1, "data", "--offline")
    assert addresses == []


def test_missing_data_is_downloaded_only_without_offline(cli, addresses):
    message = cli.fails(1, "data")
    assert addresses
    assert "network not reachable" in message
