import json
import tomllib

import pytest

optuna = pytest.importorskip("optuna", reason="needs the extra [tune]")

from optuna.trial import TrialState

from fashioncnn.config import resolve
from fashioncnn.errors import RunError, UsageError
from fashioncnn.tuning.study import (
    ask,
    best_of,
    ended,
    importances,
    lose,
    mend_journal,
    open_study,
    recover,
    trials_of,
)


def distributions(search):
    return {key: parameter.distribution() for key, parameter in search.space.items()}


def reopen(folder, search):
    mend_journal(folder.journal)
    study = open_study(folder, search)
    recover(study, search)
    return study


def finish(study, search, n, loss=lambda trial: trial.params["model.dropout"]):
    for _ in range(n):
        trial = ask(study, search, distributions(search))
        trial.report(loss(trial), 1)
        trial.set_user_attr("accuracy", 0.5)
        trial.set_user_attr("seconds", 1.0)
        study.tell(trial, loss(trial))


def values(trials):
    return [t["parameters"] for t in trials if ended(t)]


def test_a_search_is_the_same_however_often_it_is_opened(plan, folder, tmp_path):
    """In its random part and in TPE's: a sampler's state in memory would begin anew each time."""
    search = plan()
    for _ in range(14):
        finish(reopen(folder, search), search, 1)
    other = type(folder)(tmp_path / "other")
    other.claim()
    study = reopen(other, search)
    finish(study, search, 14)
    opened_often = values(trials_of(reopen(folder, search), search))
    assert opened_often == values(trials_of(study, search))
    assert len({str(v) for v in opened_often}) == 14


def test_other_seeds_and_samplers_draw_otherwise(plan, folder, tmp_path):
    drawn = []
    for number, more in enumerate(({}, {"seed": 1}, {"sampler": "random"})):
        search, place = plan(**more), type(folder)(tmp_path / str(number))
        place.claim()
        study = reopen(place, search)
        finish(study, search, 14)
        drawn.append(values(trials_of(study, search)))
    assert drawn[0][:5] != drawn[1][:5]
    assert drawn[0][:5] == drawn[2][:5]  # TPE begins with random ones
    assert drawn[0] != drawn[2]


def test_the_recipes_own_values_are_tried_first_where_the_space_holds_them(plan, folder, tmp_path):
    search = plan("training.batch_size=64")
    study = reopen(folder, search)
    finish(study, search, 2)
    first, second = trials_of(study, search)
    assert first["parameters"]["optimizer.learning_rate"] == 1e-3
    assert (first["own"], second["own"]) == (True, False)
    outside = plan("training.batch_size=16")
    place = type(folder)(tmp_path / "outside")
    place.claim()
    study = reopen(place, outside)
    finish(study, outside, 1)
    assert not trials_of(study, outside)[0]["own"]


@pytest.mark.parametrize("begun", [0, 12])
def test_a_running_trial_of_a_dead_process_is_run_again(plan, folder, begun):
    search = plan()
    study = reopen(folder, search)
    finish(study, search, begun)
    left = ask(study, search, distributions(search))
    left.report(0.9, 1)
    study = reopen(folder, search)
    again = ask(study, search, distributions(search))
    assert again.params == left.params
    states = [t["state"] for t in trials_of(study, search)]
    assert states == ["complete"] * begun + ["lost", "running"]
    study.tell(again, 0.5)
    assert ask(study, search, distributions(search)).params != left.params


def test_killed_while_it_gives_up_a_trial_it_is_still_run_again_once(plan, folder, monkeypatch):
    search = plan()
    study = reopen(folder, search)
    left = ask(study, search, distributions(search))
    monkeypatch.setattr(study, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        lose(study, search, study.trials[0])
    study = reopen(folder, search)
    states = [t["state"] for t in trials_of(study, search)]
    assert states == ["lost", "waiting"]
    assert ask(study, search, distributions(search)).params == left.params


def test_killed_while_it_tells_a_failure_it_has_failed_once(plan, folder):
    search = plan()
    study = reopen(folder, search)
    ask(study, search, distributions(search)).set_user_attr("reason", "the loss became nan")
    study = reopen(folder, search)
    assert [t["state"] for t in trials_of(study, search)] == ["failed"]


def test_a_journal_cut_anywhere_is_read_up_to_its_last_whole_line(plan, folder):
    search = plan()
    study = reopen(folder, search)
    finish(study, search, 2)
    ask(study, search, distributions(search)).report(0.4, 1)
    content = folder.journal.read_bytes()
    undisturbed = values(trials_of(study, search))
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:n])) for n in range(len(lines) + 1)]
    cuts = {cut for end in ends for cut in (end, end + 1, end - 1, end + 40)}
    for cut in sorted(c for c in cuts if 0 <= c <= len(content)):
        folder.journal.write_bytes(content[:cut])
        whole = max(end for end in ends if end <= cut)
        assert mend_journal(folder.journal) == cut - whole
        assert folder.journal.read_bytes() == content[:whole]
        study = reopen(folder, search)
        assert not study.get_trials(states=(TrialState.RUNNING,))
        kept = values(trials_of(study, search))
        assert kept == undisturbed[: len(kept)]
        finish(study, search, 2 - len(kept))
        assert values(trials_of(study, search)) == undisturbed


def test_zeros_in_the_place_of_the_last_lines_are_cut_off(plan, folder):
    search = plan()
    finish(reopen(folder, search), search, 1)
    content = folder.journal.read_bytes()
    folder.journal.write_bytes(content + b"\0" * 5000)
    assert mend_journal(folder.journal) == 5000
    assert folder.journal.read_bytes() == content


def test_a_journal_damaged_in_its_middle_is_refused(plan, folder):
    search = plan()
    finish(reopen(folder, search), search, 1)
    lines = folder.journal.read_bytes().splitlines(keepends=True)
    folder.journal.write_bytes(b"".join([*lines[:3], b"rubbish\n", *lines[3:]]))
    before = folder.journal.read_bytes()
    with pytest.raises(RunError, match="damaged in line 4"):
        mend_journal(folder.journal)
    assert folder.journal.read_bytes() == before


def test_the_lock_of_a_killed_process_holds_nobody_up(plan, folder):
    (folder.path / "journal.log.lock").write_text("")
    search = plan()
    finish(reopen(folder, search), search, 1)  # Optuna would wait for 30 s


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed is 0 there and 1 now"),
        ({"sampler": "random"}, 'sampler is "tpe" there and "random" now'),
        ({"epochs": 3}, "settings.training.epochs is 2 there and 3 now"),
        ({"recipe": "honest"}, "settings.training.select"),
        (
            {"space": {"model": {"dropout": {"low": 0.0, "high": 0.6}}}},
            "space.model.dropout.high is 0.7 there and 0.6 now",
        ),
    ],
    ids=lambda value: str(value)[:20],
)
def test_another_search_in_the_folder_is_refused(plan, folder, change, said):
    folder.bind(plan(space={"model": {"dropout": {"low": 0.0, "high": 0.7}}}))
    before = folder.search.read_bytes()
    with pytest.raises(UsageError) as caught:
        folder.bind(plan(**{"space": {"model": {"dropout": {"low": 0.0, "high": 0.7}}}, **change}))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert folder.search.read_bytes() == before


def test_other_data_is_refused_and_other_threads_are_not(plan, folder, small):
    from dataclasses import replace

    search = plan()
    folder.bind(search)
    with pytest.raises(UsageError, match=r"data\.sha256"):
        folder.bind(replace(search, data={"name": "sketches", "sha256": "0"}))
    folder.bind(plan("runtime.threads=2", jobs=2))


def test_a_folder_of_something_else_is_left_alone(folder):
    (folder.path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something, but no search"):
        folder.claim()


def test_a_damaged_description_is_an_error(plan, folder):
    folder.search.write_bytes(b"seed = ")
    with pytest.raises(RunError, match="damaged"):
        folder.bind(plan())


def test_two_processes_never_search_in_one_folder(folder):
    with (
        folder.lock(),
        pytest.raises(RunError, match="another process is searching"),
        folder.lock(),
    ):
        pass


def test_the_best_is_a_recipe_as_the_recipe_was(plan, folder, monkeypatch):
    search = plan(sampler="random")
    study = reopen(folder, search)
    finish(study, search, 3)
    trials = trials_of(study, search)
    folder.write_best(search, trials)
    monkeypatch.delenv("FASHIONCNN_DATA", raising=False)
    settings = resolve(str(folder.best))
    best = best_of(trials)
    assert settings.model.dropout == min(t["loss"] for t in trials) == best["loss"]
    assert settings.optimizer.learning_rate == best["parameters"]["optimizer.learning_rate"]
    assert settings.training.epochs == 2
    assert settings.data.validation == 0  # all images, as baseline does
    assert settings.data.source is None
    assert not settings.training.track_test
    assert settings.runtime == resolve("baseline").runtime
    assert f"baseline, tuned: trial {best['number']}, best of 3 by random" in settings.description


def test_importances_name_what_decides(plan, folder):
    search = plan(sampler="random")
    study = reopen(folder, search)
    finish(study, search, 7)
    assert importances(study) == {}
    finish(study, search, 33)
    shares = importances(study)
    assert max(shares, key=shares.get) == "model.dropout"
    assert sum(shares.values()) == pytest.approx(1)


def test_importances_where_all_are_alike(plan, folder):
    search = plan()
    study = reopen(folder, search)
    finish(study, search, 9, loss=lambda trial: 1.0)
    assert importances(study) == {}


def test_the_description_is_readable(plan, folder):
    search = plan()
    folder.bind(search)
    content = tomllib.loads(folder.search.read_text())
    assert content["space"]["model.dropout"] == {"low": 0.0, "high": 0.7, "log": False}
    assert content["settings"]["data"]["validation"] == 50
    assert "source" not in content["settings"]["data"]
    assert json.dumps(content)
