"""Networks that are trained first, and what they say to the one that learns from them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fashioncnn.evaluation.logits import compute_logits, to_tensor

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.seeding import teacher_seed
from fashioncnn.errors import RunError, UsageError
from fashioncnn.models.trained_model import load_model
from fashioncnn.reporting.report import write_run_report
from fashioncnn.runs import create_run
from fashioncnn.training.distillation import TeacherEnsemble, teacher_settings
from fashioncnn.training.loop import Progress
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import train_model
from fashioncnn.training.state import TrainState

TAUGHT = "distillation.ensemble_size=2", "distillation.epochs=1"


def taught_by(*models):
    return f"distillation.teachers={json.dumps([str(model) for model in models])}"


@pytest.fixture
def run(small, tiny_settings, tmp_path):
    settings = tiny_settings(*TAUGHT, "training.track_test=true")
    folder = create_run(tmp_path / "run", settings)
    train_model(settings, small, run=folder)
    return folder


def test_their_answer_is_the_mean_of_their_probabilities(small, tiny_settings, tiny_outcome):
    models = [tiny_outcome.model, train_model(tiny_settings(seed=1), small).model]
    images = to_tensor(small.test.images[:5], torch.device("cpu"))
    answers = TeacherEnsemble(models, "fp32")(images)
    logits = [compute_logits(m.network, m.preprocessing, images) for m in models]
    expected = sum(torch.from_numpy(one).softmax(1) for one in logits) / 2
    torch.testing.assert_close(answers, expected)
    assert not answers.requires_grad


def test_each_is_a_run_of_its_own_in_the_runs_folder(run):
    settings = run.settings()
    assert sorted(p.name for p in (run.path / "teachers").iterdir()) == ["1", "2"]
    for number in (1, 2):
        teacher = run.teacher(number)
        training = teacher.settings().training
        assert (settings.distillation.ensemble_size, training.epochs) == (0, 1)
        assert training.seed == teacher_seed(settings.training.seed, number)
        assert not training.track_test, "a teacher has no use for the test part"
        assert len(teacher.read_history()) == 1
        assert teacher.finished
    sha256 = {load_model(path).sha256 for path in (run.path, *(run.path / "teachers").iterdir())}
    assert len(sha256) == 3, "two of the networks are the same"


def test_the_pupil_learns_what_they_say(run, small, tiny_settings):
    untaught = train_model(tiny_settings(), small)
    assert load_model(run.path).sha256 != untaught.model.sha256
    less = train_model(tiny_settings(*TAUGHT, "distillation.alpha=0.1"), small)
    assert less.model.sha256 != load_model(run.path).sha256


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_they_are_shown_what_the_pupil_is_shown(small, tiny_settings, monkeypatch, precision):
    augmented = "augmentation.shift=2", "augmentation.noise=0.1", "augmentation.cutout=0.5"
    settings = tiny_settings(*TAUGHT, *augmented, precision=precision, epochs=1)
    teachers = [train_model(teacher_settings(settings, n), small).model for n in (1, 2)]
    shown, made_ready = [], Preprocessing.__call__

    def spy(self, images):
        shown.append(images.clone())
        return made_ready(self, images)

    monkeypatch.setattr(Preprocessing, "__call__", spy)
    learner = TrainState.begin(settings, small.train, small, torch.device("cpu"))
    learner.teachers = TeacherEnsemble(teachers, precision)
    learner.learn(Progress(), on_step=lambda _: None, on_epoch=lambda _: None)
    for own, first, second in zip(shown[::3], shown[1::3], shown[2::3], strict=True):
        assert own.max() > 100, "not pixels"
        torch.testing.assert_close(first, own, rtol=0, atol=0)
        torch.testing.assert_close(second, own, rtol=0, atol=0)


def test_in_memory_it_is_the_same(run, small, tiny_settings):
    result = train_model(tiny_settings(*TAUGHT), small)
    assert result.model.sha256 == load_model(run.path).sha256


def test_their_seconds_are_told_and_the_card_names_them(run):
    summary = json.loads(run.metrics.read_bytes())["summary"]
    assert summary["teacher_seconds"] > 0
    assert "for the teachers" in write_run_report(run).read_text()
    card = (run.model / "README.md").read_text()
    assert "**Taught** by 2 networks of the same recipe, trained first for 1 epochs each" in card
    assert "**Learnt** of an image: 0.8 their mean answer" in card


def test_epochs_are_the_pupils_where_none_are_named(tiny_settings):
    settings = tiny_settings("distillation.ensemble_size=1")
    assert settings.distillation.epochs == settings.training.epochs
    assert teacher_settings(settings, 1).training.epochs == settings.training.epochs


def test_seeds_of_teachers_are_those_of_no_other_run():
    seeds = [teacher_seed(seed, number) for seed in range(20) for number in range(1, 6)]
    assert len(set(seeds)) == 100
    assert not set(seeds) & set(range(100))


def test_other_weights_to_begin_with_are_refused(small, tiny_settings, tiny_outcome):
    with pytest.raises(UsageError, match=r"distillation\.ensemble_size = 2: teachers begin afresh"):
        prepare_settings(tiny_settings(*TAUGHT), small, tiny_outcome.model)


def test_a_teacher_of_other_data_is_refused(run, small):
    run.metrics.unlink()
    for path in run.checkpoints.iterdir():
        path.unlink()
    other = replace(small, train=small.train.subset(torch.arange(len(small.train)).flip(0).numpy()))
    with pytest.raises(RunError, match="teachers/1: was begun on other training data"):
        train_model(run.settings(), other, run=run)


def test_no_other_process_trains_a_teacher_meanwhile(small, tiny_settings, tmp_path):
    folder = create_run(tmp_path / "run", tiny_settings(*TAUGHT))
    folder.teacher(1).path.mkdir(parents=True)
    with (
        folder.teacher(1).lock(),
        pytest.raises(RunError, match="teachers/1: another process is training"),
    ):
        train_model(folder.settings(), small, run=folder)


@pytest.fixture
def taught(small, tiny_settings, tmp_path):
    """A run that was taught by the model beside it, ``teacher``."""
    teacher = create_run(tmp_path / "teacher", tiny_settings(seed=9))
    train_model(teacher.settings(), small, run=teacher)
    settings = prepare_settings(tiny_settings(taught_by(teacher.path)), small)
    folder = create_run(tmp_path / "taught", settings)
    train_model(settings, small, run=folder)
    return folder


def test_a_model_that_is_there_teaches_as_one_trained_first(small, tiny_settings, tmp_path):
    first = create_run(tmp_path / "first", tiny_settings("distillation.ensemble_size=1"))
    result = train_model(first.settings(), small, run=first)
    settings = prepare_settings(tiny_settings(taught_by(first.teacher(1).path)), small)
    assert train_model(settings, small).model.sha256 == result.model.sha256


def test_models_that_are_there_teach_beside_those_trained_first(small, tiny_settings, taught):
    both = tiny_settings(taught_by(taught.path), "distillation.ensemble_size=1")
    first = tiny_settings("distillation.ensemble_size=1")
    sha256 = {train_model(settings, small).model.sha256 for settings in (both, first)}
    assert len(sha256) == 2, "only one kind of teachers was heard"


def test_a_model_that_comes_with_the_package_can_teach(small, tiny_settings):
    settings = tiny_settings(taught_by("accurate"), epochs=1)
    assert settings.distillation.teachers == ("accurate",)
    untaught = train_model(tiny_settings(epochs=1), small)
    assert train_model(settings, small).model.sha256 != untaught.model.sha256


def test_models_that_teach_are_told_by_name_and_content(taught, tmp_path):
    sha256 = load_model(tmp_path / "teacher").sha256
    environment = json.loads(taught.environment.read_bytes())
    assert environment["taught_by"] == {str(tmp_path / "teacher"): sha256}
    card = (taught.model / "README.md").read_text()
    assert f"/teacher` as it was: SHA-256 `{sha256}`" in card
    assert "teacher_seconds" not in json.loads(taught.metrics.read_bytes())["summary"]


def test_a_taught_run_goes_on_with_the_same_teacher_wherever_it_lies(taught, small, tmp_path):
    before = load_model(taught.path).sha256
    (tmp_path / "teacher").rename(tmp_path / "moved")
    moved = prepare_settings(with_teacher(taught.settings(), tmp_path / "moved"), small)
    taught.metrics.unlink()
    sorted(taught.checkpoints.iterdir())[-1].unlink()
    assert train_model(moved, small, run=taught).model.sha256 == before


def test_a_teacher_is_taken_for_what_it_is(taught, small, tiny_settings, tmp_path):
    Path("accurate").mkdir()  # of images, perhaps; no model
    assert tiny_settings(taught_by("accurate")).distillation.teachers == ("accurate",)
    teacher = tmp_path / "teacher"
    with pytest.raises(UsageError, match=r"distillation\.teachers: .*/model are one network"):
        tiny_settings(taught_by(teacher, teacher / "model"))
    with pytest.raises(UsageError, match=r"taught_by = ~nobody-here/x: it = .*no such home"):
        tiny_settings(taught_by("~nobody-here/x"))


@pytest.mark.parametrize("other", ["accurate", None])
def test_a_taught_run_does_not_go_on_with_another_teacher(taught, small, other):
    settings = with_teacher(taught.settings(), other)
    with pytest.raises(RunError, match="was begun with other models to be taught by"):
        train_model(settings, small, run=taught)


def with_teacher(settings, model):
    names = () if model is None else (str(model),)
    training = settings.training.model_copy(update={"taught_by": names})
    return settings.model_copy(update={"training": training})
