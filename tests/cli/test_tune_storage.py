"""``tune --storage``: several processes share a search in a real PostgreSQL database."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")
pytest.importorskip("psycopg", reason="needs the extra [postgres]")

from fashioncnn.config import resolve

from ..postgres import PASSWORD
from .test_tune import FIXED, SPACE

IMPATIENT = """
import fashioncnn.tuning.postgres as postgres
postgres.HEARTBEAT_SECONDS, postgres.GRACE_SECONDS = 1, 20
from fashioncnn.cli import main
raise SystemExit(main())
"""
"""The command, with trials that count as interrupted sooner."""
SECONDS = 280


@pytest.fixture
def arguments(idx_folder):
    """The command with a small space on 300 drawings."""
    Path("space.toml").write_text(SPACE)
    return ["tune", "--space", "space.toml", "--data", str(idx_folder), *FIXED]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def result_of(process):
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert PASSWORD not in out + err
    return json.loads(out), err


@pytest.mark.slow
def test_two_machines_create_a_search_at_once_and_share_it(arguments, database):
    options = [
        "--storage",
        database,
        "--epochs=2",
        "--trials=5",
        "--finalists=2",
        "--finalist-seeds=1",
    ]
    machines = [start(*arguments, *options, f"--out=machine-{n}") for n in range(2)]
    (first, notes), (second, _) = (result_of(machine) for machine in machines)
    assert f"shared with other machines: study tune-baseline in {database}" in notes
    for key in ("trials", "best", "finalists"):
        assert first[key] == second[key], key
    assert [trial["state"] for trial in first["trials"]] == ["complete"] * 5
    assert [len(finalist["losses"]) for finalist in first["finalists"]] == [1, 1]
    best = [resolve(f"machine-{n}/best.toml", environment={}) for n in range(2)]
    assert best[0] == best[1]
    for path in [*Path("machine-0").iterdir(), *Path("machine-1").iterdir()]:
        assert PASSWORD not in path.read_text(errors="replace"), path
        assert path.name != "journal.log"


@pytest.mark.slow
def test_trial_of_a_killed_machine_is_trained_by_another_one(arguments, database, postgres):
    options = ["--storage", database, "--finalists=0", "--set", "training.batch_size=1"]
    options += ["--epochs=8"]
    killed = start(*arguments, *options, "--trials=1", "--out=killed")
    name = database.rpartition("/")[2]
    deadline = time.monotonic() + SECONDS
    while not _count(postgres, name, "trial_intermediate_values"):
        assert killed.poll() is None, killed.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    document, _ = result_of(start(*arguments, *options, "--trials=1", "--out=other"))
    states = [(trial["state"], trial["parameters"]) for trial in document["trials"]]
    assert [state for state, _ in states] == ["interrupted", "complete"]
    assert states[0][1] == states[1][1]


def _count(postgres, name, table):
    exists = postgres.execute(f"SELECT to_regclass('{table}')", name)[0][0]
    return postgres.execute(f"SELECT count(*) FROM {table}", name)[0][0] if exists else 0


@pytest.mark.slow
def test_wrong_password_is_one_line_and_writes_nothing(cli, arguments, database, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wr0ng")
    error = cli.fails(1, *arguments, "--storage", database, "--out", "s")
    assert "the password of user tuner is missing or wrong" in error
    assert "wr0ng" not in error
    assert not Path("s").exists()


@pytest.mark.slow
def test_other_search_and_other_tables_write_nothing(cli, arguments, database, postgres):
    options = [
        "--storage",
        database,
        "--study",
        "mine",
        "--epochs=1",
        "--trials=1",
        "--finalists=0",
    ]
    cli.ok(*arguments, *options, "--out", "first")
    error = cli.fails(2, *arguments, *options, "--seed", "1", "--out", "s")
    assert "study mine is another search: seed is 0 there and 1 now" in error
    error = cli.fails(2, *arguments, "--epochs=1", "--trials=1", "--out", "first")
    assert 'study is "mine" there and not set now' in error
    name = database.rpartition("/")[2]
    postgres.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", name)
    postgres.execute("CREATE TABLE customers (id int)", name)
    error = cli.fails(2, *arguments, *options, "--out", "s")
    assert "the database contains other tables (customers)" in error
    assert not Path("s").exists()


def test_unreachable_address_is_one_line_and_writes_nothing(cli, arguments, monkeypatch):
    address = "postgresql://user:hidden-pw@127.0.0.1:1/searches"
    error = cli.fails(1, *arguments, "--storage", address, "--out", "s")
    assert error.startswith("fashioncnn: postgresql://user@127.0.0.1:1/searches: the database")
    assert "Connection refused" in error
    monkeypatch.setenv("FASHIONCNN_STORAGE", address)
    assert "Connection refused" in cli.fails(1, *arguments, "--out", "s")
    assert not Path("s").exists()


def test_missing_psycopg_is_reported_with_the_install_command(cli, arguments, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "psycopg" else find(name)
    )
    error = cli.fails(1, *arguments, "--storage", "postgresql://127.0.0.1/x")
    assert "pip install '.[postgres]'" in error
