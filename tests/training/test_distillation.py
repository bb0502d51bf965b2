"""Knowledge distillation: teachers that are given, and teachers that are trained first."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fashioncnn.data.seeding import teacher_seed
from fashioncnn.errors import DataError, ModelError, RunError, UsageError
from fashioncnn.models.backend import compute_logits, normalize, to_tensor
from fashioncnn.models.trained_model import load_model, save_model
from fashioncnn.runs import create_run
from fashioncnn.settings import DistillationConfig
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.distillation import TeacherEnsemble, teacher_settings
from fashioncnn.training.initialize import create_batches
from fashioncnn.training.run import train_model

CPU = torch.device("cpu")
TWO_TEACHERS = "distillation.ensemble_size=2", "distillation.epochs=1"


def given(*paths):
    """Return the assignment of given teachers."""
    return f"distillation.teachers={json.dumps([str(path) for path in paths])}"


@pytest.fixture(scope="module")
def run(mini, tiny_settings, tmp_path_factory):
    """Return a run with two teachers that were trained first; tests do not change it."""
    settings = tiny_settings(*TWO_TEACHERS, "data.validation=20", dataset=mini)
    folder = create_run(tmp_path_factory.mktemp("distillation") / "run", settings)
    train_model(settings, mini, run=folder)
    return folder


@pytest.fixture
def teacher(tiny_result, tmp_path):
    """Return the folder of a model."""
    save_model(tiny_result.model, tmp_path / "teacher", "")
    return tmp_path / "teacher"


@pytest.fixture
def distilled(mini, tiny_settings, teacher, tmp_path):
    """Return a run with one given teacher."""
    settings = tiny_settings(given(teacher), dataset=mini)
    folder = create_run(tmp_path / "distilled", settings)
    train_model(settings, mini, run=folder)
    return folder


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_target_is_the_mean_of_the_teachers_probabilities(temperature, small, tiny_result):
    first = tiny_result.model
    second = replace(
        first,
        spec=first.spec.replace(preprocessing=replace(first.spec.preprocessing, mean=0.3, std=0.5)),
    )
    images = to_tensor(small.test.images[:5], CPU)
    probabilities = TeacherEnsemble([first, second], "fp32", temperature)(images)
    expected = sum(
        torch.from_numpy(
            compute_logits(m.network, m.spec.preprocessing, images) / temperature
        ).softmax(1)
        for m in (first, second)
    )
    torch.testing.assert_close(probabilities, expected / 2)
    assert not probabilities.requires_grad


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_teachers_get_the_augmented_images_of_the_student(
    precision, mini, tiny_settings, tiny_result
):
    inputs = []
    network = tiny_result.model.network
    network.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    augmentation = "augmentation.shift=2", "augmentation.noise=0.1", "augmentation.mixup=0.4"
    settings = tiny_settings(*augmentation, dataset=mini)
    teachers = TeacherEnsemble([tiny_result.model], precision)
    batches = create_batches(settings, mini.train, mini, CPU, teachers)
    for batch in batches.epoch(0):
        expected = normalize(batch.images, tiny_result.model.spec.preprocessing)
        torch.testing.assert_close(inputs[-1], expected, rtol=0, atol=0)
        assert batch.teacher_probabilities.dtype == torch.float32
    assert len(inputs) == 4


def test_settings_of_a_teacher_are_those_of_the_run_with_another_seed(tiny_settings):
    settings = tiny_settings(
        *TWO_TEACHERS, "training.track_test=true", "training.label_smoothing=0.1", seed=5
    )
    first, second = (teacher_settings(settings, number) for number in (1, 2))
    assert first.training.seed == teacher_seed(5, 1) != second.training.seed
    assert (first.training.epochs, first.training.select) == (1, "last")
    assert first.training.label_smoothing == 0.1
    assert not first.training.track_test
    assert first.distillation == DistillationConfig()
    assert first.description == "teacher 1 of 2"
    assert (first.model, first.optimizer) == (settings.model, settings.optimizer)


def test_teachers_have_run_folders_inside_the_run(run):
    assert sorted(path.name for path in (run.path / "teachers").iterdir()) == ["1", "2"]
    for number in (1, 2):
        teacher = run.teacher(number)
        assert teacher.trained
        assert teacher.settings() == teacher_settings(run.settings(), number)
        assert len(teacher.read_history()) == 1
    models = {load_model(r.path).sha256 for r in (run, run.teacher(1), run.teacher(2))}
    assert len(models) == 3


def test_distillation_in_memory_gives_the_same_model(run, mini):
    assert train_model(run.settings(), mini).model.sha256 == load_model(run.path).sha256


def test_alpha_changes_the_result(run, mini, tiny_settings):
    settings = tiny_settings(
        *TWO_TEACHERS, "distillation.alpha=0.1", "data.validation=20", dataset=mini
    )
    assert train_model(settings, mini).model.sha256 != load_model(run.path).sha256


def test_summary_and_card_describe_the_teachers(run):
    summary = json.loads(run.metrics.read_bytes())["summary"]
    seconds = [
        json.loads(run.teacher(number).metrics.read_bytes())["summary"]["seconds"]
        for number in (1, 2)
    ]
    assert summary["teacher_seconds"] == sum(seconds)
    card = (run.model / "README.md").read_text()
    assert "- **Teachers**: 2 networks of the same recipe, trained first for 1 epochs each" in card
    assert "- **Distillation**: alpha 0.8, temperature 1" in card


def test_callbacks_get_the_name_of_each_network(mini, tiny_settings):
    names = []

    class RecordNames(Callback):
        def on_start(self, state, images):
            names.append(state.name)

    settings = tiny_settings(*TWO_TEACHERS, dataset=mini, epochs=1)
    train_model(settings, mini, callbacks=[RecordNames()])
    assert names == ["teacher 1 of 2", "teacher 2 of 2", "student"]
    names.clear()
    train_model(tiny_settings(dataset=mini, epochs=1), mini, callbacks=[RecordNames()])
    assert names == [""]


def test_teachers_of_other_data_are_rejected(mini, tiny_settings, tmp_path):
    settings = tiny_settings(*TWO_TEACHERS, dataset=mini)
    run = create_run(tmp_path / "run", settings)
    other = replace(mini, train=mini.train.subset(np.arange(100)[::-1]))
    run.teacher(1).path.mkdir(parents=True)
    train_model(teacher_settings(settings, 1), other, run=run.teacher(1))
    with pytest.raises(RunError, match="teachers/1: the run was started with other training data"):
        train_model(settings, mini, run=run)


def test_given_teacher_equals_one_that_was_trained_first(run, mini, tiny_settings):
    settings = tiny_settings(
        given(run.teacher(1).path, run.teacher(2).path), "data.validation=20", dataset=mini
    )
    assert train_model(settings, mini).model.sha256 == load_model(run.path).sha256


def test_given_and_trained_teachers_are_combined(mini, tiny_settings, teacher):
    trained = ("distillation.ensemble_size=1",)
    results = {
        train_model(tiny_settings(*assignments, dataset=mini, epochs=1), mini).model.sha256
        for assignments in (trained, (given(teacher),), (*trained, given(teacher)))
    }
    assert len(results) == 3


def test_bundled_model_can_be_a_teacher(mini, tiny_settings):
    settings = tiny_settings(given("accurate"), dataset=mini, epochs=1)
    without = tiny_settings(dataset=mini, epochs=1)
    models = [train_model(each, mini).model.sha256 for each in (settings, without)]
    assert models[0] != models[1]


def test_given_teachers_are_recorded_with_their_hash(distilled, teacher):
    sha256 = load_model(teacher).sha256
    assert distilled.read_environment()["teachers"] == {str(teacher): sha256}
    card = (distilled.model / "README.md").read_text()
    assert f"- **Teacher**: `{teacher.parent.name}/teacher`, SHA-256 `{sha256}`" in card
    assert "teacher_seconds" not in json.loads(distilled.metrics.read_bytes())["summary"]


def test_run_resumes_with_its_teacher_in_another_place(
    distilled, mini, tiny_settings, teacher, tmp_path
):
    before = load_model(distilled.path).sha256
    teacher.rename(tmp_path / "moved")
    settings = tiny_settings(given(tmp_path / "moved"), dataset=mini)
    distilled.metrics.unlink()
    sorted(distilled.checkpoints.iterdir())[-1].unlink()
    with pytest.warns(UserWarning, match="damaged; resuming from"):
        assert train_model(settings, mini, run=distilled).model.sha256 == before


@pytest.mark.parametrize("teachers", [[], ["accurate"]], ids=["none", "another"])
def test_resuming_with_other_teachers_is_rejected(distilled, mini, tiny_settings, teachers):
    settings = tiny_settings(given(*teachers), dataset=mini)
    with pytest.raises(RunError, match="was started with other teachers"):
        train_model(settings, mini, run=distilled)


def test_epochs_of_teachers_are_those_of_the_student_by_default(tiny_settings):
    settings = tiny_settings("distillation.ensemble_size=1", epochs=3)
    assert settings.distillation.epochs == 3
    assert tiny_settings("distillation.ensemble_size=1", "distillation.epochs=1")
    assert tiny_settings().distillation.epochs == "auto"


@pytest.fixture
def teacher_run(tiny_result, tmp_path):
    """Return a run folder with a model."""
    save_model(tiny_result.model, tmp_path / "teacher" / "model", "")
    return tmp_path / "teacher"


def test_teachers_become_absolute_folders_or_names_of_bundled_models(
    teacher_run, tiny_settings, monkeypatch
):
    monkeypatch.chdir(teacher_run.parent)
    Path("accurate").mkdir()  # a folder without a model
    settings = tiny_settings(given("teacher", "accurate"))
    assert settings.distillation.teachers == (str(teacher_run), "accurate")


def test_teacher_given_twice_is_rejected(teacher_run, tiny_settings):
    with pytest.raises(UsageError, match=r"distillation\.teachers: .* are the same model"):
        tiny_settings(given(teacher_run, teacher_run / "model"))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", UsageError, "nowhere: no such run or model folder"),
        ("~nobody-here/x", UsageError, ".*no such home folder"),
        ("damaged", ModelError, r"damaged/config\.json: invalid"),
    ],
)
def test_teacher_without_a_model_is_rejected_by_name(name, error, message, tiny_settings):
    Path("damaged").mkdir()
    Path("damaged/config.json").write_text("{")
    with pytest.raises(error, match=rf"^distillation\.teachers = {name}: {message}"):
        tiny_settings(given(name))


def test_teacher_of_other_classes_is_rejected(teacher_run, small, tiny_settings):
    other = replace(small, class_names=tuple("abcdefghij"))
    with pytest.raises(DataError, match=r"distillation\.teachers = .*its classes"):
        tiny_settings(given(teacher_run), dataset=other)
