"""A search in a real PostgreSQL database, shared by several processes."""

import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")
pytest.importorskip("psycopg", reason="needs the extra [postgres]")

from fashioncnn.errors import RunError, UsageError
from fashioncnn.reporting.trials import best_trial
from fashioncnn.tuning import postgres as module
from fashioncnn.tuning.address import parse_address
from fashioncnn.tuning.finalists import read_finalists, run_finalists
from fashioncnn.tuning.postgres import SharedStorage
from fashioncnn.tuning.search import run_search
from fashioncnn.tuning.trials import read_trials

from ..postgres import PASSWORD
from .helpers import FakeWorkers, RecordingCallback, ask, finished_results


@pytest.fixture
def open_storage(database):
    """Return a function that opens the database as another machine would."""
    opened = []

    def make(name="search", address=None):
        opened.append(SharedStorage(address or parse_address(database), name))
        return opened[-1]

    yield make
    for storage in opened:
        storage.close()


@pytest.fixture
def impatient(monkeypatch):
    """Count trials as interrupted after 3 seconds without one of the heartbeats of each second."""
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(module, "GRACE_SECONDS", 3)


def search(storage, config, folder, *, trials, jobs=1, workers=None, callback=None):
    return run_search(
        config,
        folder,
        storage.open_study(config),
        workers or FakeWorkers(),
        jobs=jobs,
        trials=trials,
        callback=callback or RecordingCallback(),
        storage=storage,
    )


def test_search_with_one_machine_equals_that_of_a_journal(
    open_storage, folder, long_config, uninterrupted
):
    trials = search(open_storage(), long_config, folder, trials=len(uninterrupted))
    assert finished_results(trials) == uninterrupted
    assert f"trial {best_trial(trials).number}, best of" in folder.best_recipe.read_text()


def test_reopened_study_continues(open_storage, folder, long_config, uninterrupted):
    search(open_storage(), long_config, folder, trials=6)
    trials = search(open_storage(), long_config, folder, trials=len(uninterrupted))
    assert finished_results(trials) == uninterrupted


def test_machines_share_the_trials_of_one_study(open_storage, folder, long_config):
    results = {}

    def run(number):
        results[number] = search(open_storage(), long_config, folder, trials=16, jobs=2)

    machines = [threading.Thread(target=run, args=(n,)) for n in range(3)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert len(results) == 3
    assert all(sum(t.is_finished for t in trials) == 16 for trials in results.values())
    values = [str(t.parameters) for t in results[0]]
    assert len(set(values)) == len(values) == 16


def test_trial_of_a_dead_machine_is_queued_again(open_storage, folder, config, impatient):
    dead = open_storage()
    study = dead.open_study(config)
    trial = ask(study, config)
    dead.started(trial)
    dead.close()  # its heartbeats end
    trials = search(open_storage(), config, folder, trials=2)
    interrupted = [t for t in trials if t.state == "interrupted"]
    assert [t.number for t in interrupted] == [trial.number]
    assert sum(t.parameters == interrupted[0].parameters for t in trials) == 2
    assert sum(t.is_finished for t in trials) == 2


def test_trial_without_a_first_heartbeat_is_queued_again(open_storage, folder, config, impatient):
    study = open_storage().open_study(config)
    number = ask(study, config).number  # and the machine dies
    trials = search(open_storage(), config, folder, trials=2)
    assert [t.number for t in trials if t.state == "interrupted"] == [number]
    assert sum(t.is_finished for t in trials) == 2


def test_machine_killed_while_it_takes_a_trial_over_loses_nothing(
    open_storage, folder, config, impatient, monkeypatch
):
    dead = open_storage()
    trial = ask(dead.open_study(config), config)
    dead.started(trial)
    dead.close()
    second = open_storage()
    study = second.open_study(config)
    time.sleep(4)

    def kill(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_requeue_lost", kill)
        with pytest.raises(KeyboardInterrupt), second.lock():
            second.recover(study, config)
    assert read_trials(study, config)[trial.number].state == "interrupted"
    trials = search(open_storage(), config, folder, trials=1)
    assert sum(t.parameters == trials[trial.number].parameters for t in trials) == 2


def test_trial_taken_over_by_another_machine_is_left_to_it(open_storage, folder, config, impatient):
    """A machine that was cut off for too long, and comes back."""
    callback, taken = RecordingCallback(), []

    def cut_off(settings, epoch):
        if epoch == 1 and not taken:
            other = open_storage()
            study = other.open_study(config)
            study.tell(0, state=module.TrialState.FAIL)
            with other.lock():
                taken.append(other.recover(study, config))

    workers = FakeWorkers(cut_off)
    trials = search(open_storage(), config, folder, trials=3, workers=workers, callback=callback)
    assert taken == [1]
    assert callback.states.count("interrupted") == 1
    assert trials[0].state == "interrupted"
    assert sum(t.is_finished for t in trials) == 3


def test_finalists_are_trained_once_by_all_machines(open_storage, folder, config):
    storage = open_storage()
    trials = search(storage, config, folder, trials=5)
    workers = [FakeWorkers(), FakeWorkers()]

    def run(number):
        shared = open_storage()
        run_finalists(
            config,
            shared.open_finalists(config),
            trials,
            workers[number],
            finalists=2,
            seeds=3,
            jobs=1,
            callback=RecordingCallback(),
            storage=shared,
        )

    machines = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    finalists = read_finalists(storage.open_finalists(config), trials)
    assert [f.seeds for f in finalists] == [len(f.losses) for f in finalists] == [3, 3]
    assert sum(len(w.started) for w in workers) == 6
    seeds = [s.training.seed for w in workers for s in w.started]
    assert sorted(seeds) == [1, 1, 2, 2, 3, 3]


def test_other_search_with_the_same_name_is_rejected(open_storage, config):
    open_storage().open_study(config)
    with pytest.raises(UsageError, match=r"study search is another search: seed is 0 there and 1"):
        open_storage().open_study(replace(config, seed=1))
    other = replace(config, data={**config.data, "sha256": "0"})
    with pytest.raises(UsageError, match=r"data.sha256 is .*; repeat the options of that search"):
        open_storage().open_study(other)
    open_storage("other").open_study(replace(config, seed=1))


def test_study_of_another_program_is_rejected(open_storage, database, config):
    import optuna

    url = parse_address(database).url
    study = optuna.create_study(storage=url, study_name="search")
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(UsageError, match="was not created by fashioncnn; choose another name"):
        open_storage().open_study(config)
    study._storage._backend.engine.dispose()


def test_database_with_other_tables_is_rejected_and_left_alone(open_storage, postgres, database):
    name = database.rpartition("/")[2]
    postgres.execute("CREATE TABLE customers (id int)", name)
    with pytest.raises(UsageError, match=r"contains other tables \(customers\) and no searches"):
        open_storage()
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    assert postgres.execute(tables, name) == [("customers",)]


@pytest.mark.parametrize("revision", ["v0.9.0.a", "unknown"])
def test_database_of_another_version_of_optuna_is_rejected(
    open_storage, postgres, database, revision
):
    open_storage()
    name = database.rpartition("/")[2]
    postgres.execute(f"UPDATE alembic_version SET version_num = '{revision}'", name)
    with pytest.raises(RunError, match="was created by another version of Optuna"):
        open_storage()


def test_wrong_password_is_rejected_in_one_line(open_storage, database, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "wr0ng")
    with pytest.raises(RunError) as caught:
        open_storage()
    message = str(caught.value)
    assert "the password of user tuner is missing or wrong; set PGPASSWORD" in message
    assert "wr0ng" not in message
    assert "\n" not in message


def test_password_in_the_address_is_used_and_not_shown(open_storage, database, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")
    encoded = "".join(f"%{byte:02X}" for byte in PASSWORD.encode())
    address = parse_address(database.replace("tuner@", f"tuner:{encoded}@"))
    storage = open_storage(address=address)
    for shown in (repr(address), str(address), repr(vars(storage)), storage._engine.url):
        assert PASSWORD not in str(shown)
        assert encoded not in str(shown)


def test_missing_database_is_reported(open_storage, database):
    with pytest.raises(RunError, match='database "nowhere" does not exist'):
        open_storage(address=parse_address(database.rpartition("/")[0] + "/nowhere"))


def test_restart_of_the_database_does_not_end_a_search(open_storage, postgres, folder, config):
    """Its connections are closed between two epochs."""
    name = folder.path.name

    def disconnect(settings, epoch):
        if epoch == 1:
            postgres.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'fashioncnn tune'"
            )

    trials = search(open_storage(name), config, folder, trials=2, workers=FakeWorkers(disconnect))
    assert sum(t.is_finished for t in trials) == 2
