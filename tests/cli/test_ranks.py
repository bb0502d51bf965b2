"""Commands in several processes: what each of them prints and may do."""

import sys

import pytest
import torch
from torch.distributed import TCPStore

from fashioncnn.cli import ranks
from fashioncnn.cli.signals import StopSignals
from fashioncnn.errors import UsageError
from fashioncnn.settings import RuntimeConfig
from fashioncnn.training.ranks import ALONE, Ranks, ReportedError


@pytest.fixture
def launched(monkeypatch):
    """Return a function that makes this process one of several, with a store of `torchrun`."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)

    def launch(rank, world_size=2):
        for cached in (ranks._claim_failure, ranks._store):
            cached.cache_clear()
        values = {"RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
        values |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port}
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))
        return store

    yield launch
    for cached in (ranks._claim_failure, ranks._store):
        cached.cache_clear()


def test_one_process_is_the_first():
    assert not ranks.are_several()
    assert ranks.is_first()
    assert ranks.is_first_to_fail()
    with ranks.connected() as alone:
        assert alone is ALONE


@pytest.mark.parametrize("command", [["tune"], ["--json", "evaluate"], ["report", "run"]])
def test_other_commands_than_train_are_rejected(command, launched, cli):
    launched(0)
    message = cli.fails(2, *command)
    assert message.endswith("only train can use several processes; start it without torchrun")


def test_only_the_first_process_prints(launched, capsys):
    for rank in (0, 1):
        launched(rank)
        with ranks.silent_unless_first():
            sys.stdout.write(f"out {rank}\n")
            sys.stderr.write(f"err {rank}\n")
    assert capsys.readouterr() == ("out 0\n", "err 0\n")


def test_first_failure_is_reported_by_its_process_only(launched):
    reports = []
    for rank in (1, 0):
        launched(rank)
        ranks.report_failure(lambda rank=rank: reports.append(rank), 1)
    assert reports == [1]


def test_error_that_another_process_reports_is_not_reported(launched):
    store = launched(1)
    store.set(ranks._key("reported"), "")
    reports = []
    ranks.report_failure(lambda: reports.append(1), 2, elsewhere=True)
    assert reports == []
    assert ranks.is_first_to_fail(), "the other process may still do so"


def test_second_signal_does_not_kill_one_of_several_processes(launched, monkeypatch):
    handlers = {}
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    stop = StopSignals("")
    stop._receive(15, None)
    assert set(handlers.values()) == {0}, "SIG_DFL"
    launched(0)
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    stop._receive(15, None)
    assert set(handlers.values()) == {1}, "SIG_IGN"


def on(settings, device):
    return settings.model_copy(update={"runtime": RuntimeConfig(device=device)})


def test_each_process_gets_its_own_gpu(tiny_settings, monkeypatch):
    settings = tiny_settings()
    assert ranks.place(on(settings, "cuda:1"), ALONE).runtime.device == "cuda:1"
    assert ranks.place(on(settings, "cpu"), Ranks(1, 2, 1, 2)).runtime.device == "cpu"
    with pytest.raises(UsageError, match="device = cuda:1: torchrun gives each process its own"):
        ranks.place(on(settings, "cuda:1"), Ranks(1, 2, 1, 2))
    used = []
    monkeypatch.setattr("fashioncnn.devices.resolve_device", torch.device)
    monkeypatch.setattr("torch.cuda.set_device", used.append)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert ranks.place(on(settings, "cuda"), Ranks(3, 4, 1, 2)).runtime.device == "cuda:1"
    assert used == [1]
    with pytest.raises(UsageError, match="3 processes on a machine with 2 GPUs"):
        ranks.place(on(settings, "cuda"), Ranks(0, 3, 0, 3))
    with pytest.raises(UsageError, match="device = mps: several processes need CPUs or CUDA GPUs"):
        ranks.place(on(settings, "mps"), Ranks(0, 2, 0, 2))


def test_groups_are_rejected():
    with pytest.raises(UsageError, match="--seeds 0-4: several processes train one run"):
        ranks.require_no_group("--seeds 0-4", Ranks(0, 2))
    with pytest.raises(ReportedError):
        ranks.require_no_group("--seeds 0-4", Ranks(1, 2))


def test_description_contains_what_decides_the_training(tiny_settings, small):
    settings = tiny_settings()
    described = ranks.describe(settings, small)
    elsewhere = {"data.source": "/elsewhere", "runtime.threads": 3}
    from fashioncnn.config import override

    assert ranks.describe(override(settings, elsewhere), small) == described
    assert ranks.describe(override(settings, {"training.seed": 1}), small) != described
    assert described["data"]["sha256"] == small.training_sha256


SENT = []


class Messages(Ranks):
    """Ranks that keep what the first one sends."""

    def broadcast(self, content):
        if self.is_first:
            SENT.append(content)
        return SENT[-1]


def test_other_processes_end_as_the_first_one_that_does_not_train():
    first, other = Messages(0, 2), Messages(1, 2)
    with ranks.Plan(first) as plan:
        plan.send(run="run")
    assert ranks.Plan(other).receive() == {"run": "run"}
    with ranks.Plan(first):
        pass  # a finished run
    with pytest.raises(ReportedError) as ended:
        ranks.Plan(other).receive()
    assert ended.value.exit_code == 0
    with pytest.raises(UsageError), ranks.Plan(first):
        raise UsageError("--out run: not empty")
    with pytest.raises(ReportedError) as ended:
        ranks.Plan(other).receive()
    assert ended.value.exit_code == 2
