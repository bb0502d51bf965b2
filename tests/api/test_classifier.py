"""The Python API."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fashioncnn import Classifier, load_data
from fashioncnn.api.classifier import classifier_of_model
from fashioncnn.artifacts import model_folder
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES
from fashioncnn.errors import ConfigError, DataError, UsageError
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.training.callbacks import Callback

from ..torch_state import describe_state, two_threads

TRAINING = {"epochs": 1, "device": "cpu", "kernels": "torch"}


@pytest.fixture
def classifier(tiny_result):
    return classifier_of_model(tiny_result.model, tiny_result.history)


@pytest.fixture(scope="module")
def photo():
    """Return the bundled model for photographs, with flips, several views and an OOD detector."""
    return Classifier.load("photo", device="cpu")


@pytest.fixture(scope="module")
def photographs(sketches):
    """Return images of various sizes that are no model input."""
    sizes = [(90, 70), (28, 28), (60, 100), (50, 50)]
    return [
        Image.fromarray(image).convert("RGB").resize(size)
        for image, size in zip(sketches.test.images, sizes, strict=False)
    ]


def test_training_without_a_folder_writes_nothing(small):
    classifier = Classifier.train(data=small, **TRAINING)
    assert [record["epoch"] for record in classifier.history] == [1]
    assert classifier.class_names == FASHION_MNIST_CLASSES
    assert list(Path().iterdir()) == []


def test_training_writes_a_complete_run_folder_and_calls_callbacks(small, tmp_path):
    events = []

    class Record(Callback):
        def on_start(self, state, images):
            events.append(("start", images))

        def on_step(self, state):
            events.append(("step", state.progress.step))

        def on_artifacts(self, run):
            events.append(("artifacts", (run.path / "report.html").exists()))

    out = tmp_path / "run"
    trained = Classifier.train(
        data=small, out=out, batch_size=150, callbacks=[Record()], **TRAINING
    )
    assert events == [("start", 300), ("step", 1), ("step", 2), ("artifacts", True)]
    loaded = Classifier.load(out, device="cpu")
    assert loaded.class_names == small.class_names
    np.testing.assert_allclose(
        loaded.predict_proba(small.test.images), trained.predict_proba(small.test.images), rtol=1e-5
    )
    with pytest.raises(UsageError, match="not empty"):
        Classifier.train(data=small, out=out, **TRAINING)


def test_training_on_a_folder(idx_folder):
    classifier = Classifier.train(data=idx_folder, **TRAINING)
    assert classifier.class_names == tuple("0123456789")


def test_training_on_arrays_is_training_on_these_arrays(small):
    images, labels = small.train.images[:60], small.train.labels[:60] % 3
    trained = Classifier.train(data=(images, labels * 10), batch_size=20, **TRAINING)
    assert trained.class_names == ("0", "10", "20")
    assert trained.classes_.tolist() == [0, 10, 20]
    named = Classifier.train(
        data=(images, np.array(["x2", "x10", "y"])[labels]), batch_size=20, **TRAINING
    )
    assert named.classes_.tolist() == ["x2", "x10", "y"]  # in natural order
    assert set(named.predict(images)) <= set(named.classes_)


@pytest.mark.parametrize(
    "data",
    [3, {}, (1, 2, 3), "", b"folder", np.zeros((4, 28, 28)), object()],
    ids=lambda data: type(data).__name__,
)
def test_unsupported_data_is_rejected_by_its_type(data):
    """It never falls back to Fashion-MNIST."""
    with pytest.raises(UsageError, match=f"data of type {type(data).__name__}"):
        Classifier.train(data=data, **TRAINING)


def test_messages_name_arguments_not_options(small):
    with pytest.raises(DataError, match="no test split") as raised:
        Classifier.train(data=replace(small, test=None), **TRAINING)
    assert "--" not in str(raised.value)
    assert "track_test=False" in str(raised.value)


def test_unknown_settings_are_rejected_with_the_nearest_name():
    with pytest.raises(UsageError, match="no setting 'epoch'; did you mean 'epochs'"):
        Classifier.train(data="sketches", epoch=3)
    with pytest.raises(ConfigError, match=r"training\.epochs = 0"):
        Classifier.train(data="sketches", epochs=0)


def test_threads_must_be_those_of_the_process(small):
    with pytest.raises(UsageError, match=r"threads = 2: this process uses 1"):
        Classifier.train(data=small, threads=2, **TRAINING)
    Classifier.train(data=small, threads=1, **TRAINING)
    assert torch.get_num_threads() == 1


def test_labels_are_those_of_the_highest_probability(classifier, small):
    probabilities = classifier.predict_proba(small.test.images)
    assert probabilities.shape == (100, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    labels = classifier.predict(small.test.images)
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=1))


def test_images_can_be_paths(classifier, small, tmp_path):
    Image.fromarray(small.test.images[0]).save(tmp_path / "a.png")
    of_path, of_array = (
        classifier.predict_proba(image) for image in (tmp_path / "a.png", small.test.images[0])
    )
    np.testing.assert_array_equal(of_path, of_array)


def test_no_images_have_no_predictions(classifier):
    assert classifier.predict_proba([]).shape == (0, 10)
    assert classifier.predict([]).shape == (0,)


def test_saved_model_appears_complete(classifier, tmp_path, monkeypatch):
    """A process that is killed while it saves leaves no folder that looks like a model."""
    folder, write = tmp_path / "model", model_folder.write_json

    def check(path, value):
        assert not folder.exists()
        write(path, value)

    monkeypatch.setattr(model_folder, "write_json", check)
    classifier.save(folder)
    assert {p.name for p in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    monkeypatch.setattr(model_folder, "write_json", write)
    classifier.save(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_saved_model_predicts_the_same(classifier, small, tmp_path):
    classifier.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model", device="cpu")
    assert loaded.history == []
    probabilities, expected = (c.predict_proba(small.test.images) for c in (loaded, classifier))
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)
    assert "Intended use" in (tmp_path / "model" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["README.md", "config.json", "data.csv", "model.safetensors"])
def test_saving_never_replaces_files_of_the_user(name, classifier, tmp_path):
    (tmp_path / name).write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match="exists and is not a model folder"):
        classifier.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"name": "mine"}'


def test_saving_over_a_model_with_a_file_of_the_user_is_rejected(classifier, tmp_path):
    classifier.save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    with pytest.raises(UsageError, match=r"it contains notes\.txt"):
        classifier.save(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_saving_over_a_file_is_rejected(classifier, tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not a model folder"):
        classifier.save(tmp_path / "model")
    assert (tmp_path / "model").read_text() == "mine"


def test_missing_model_is_rejected(tmp_path):
    with pytest.raises(UsageError, match="no such run or model folder"):
        Classifier.load(tmp_path / "nowhere")


def without_dataset(metrics):
    return {key: value for key, value in metrics.items() if key != "dataset"}


@pytest.mark.parametrize("spec", [{}, {"tta": "flip"}, {"temperature": 0.4}], ids=str)
def test_evaluation_of_data_and_of_the_same_arrays_is_equal(spec, tiny_result, small):
    model = TrainedModel(tiny_result.model.network, tiny_result.model.spec.replace(**spec))
    classifier = classifier_of_model(model)
    of_data = classifier.evaluate(small)
    of_arrays = classifier.evaluate(small.test.images, small.test.labels)
    assert without_dataset(of_data) == without_dataset(of_arrays)
    if not spec:
        assert of_data == tiny_result.metrics["test"]


def test_evaluation_of_the_photo_model_on_data_and_arrays_is_equal(photo, small):
    of_data = photo.evaluate(small)
    of_arrays = photo.evaluate(small.test.images, small.test.labels)
    of_images = photo.evaluate([Image.fromarray(x) for x in small.test.images], small.test.labels)
    assert without_dataset(of_data) == without_dataset(of_arrays) == without_dataset(of_images)
    probabilities = photo.predict_proba(small.test.images)
    of_labels = probabilities[np.arange(100), small.test.labels]
    assert of_data["calibrated"]["loss"] == pytest.approx(-np.log(of_labels).mean(), rel=1e-5)
    assert of_data["accuracy"] == (probabilities.argmax(axis=1) == small.test.labels).mean()


def test_photographs_are_evaluated_by_their_predictions(photo, photographs):
    labels = photo.predict(photographs)
    metrics = photo.evaluate(photographs, labels)
    assert metrics["accuracy"] == 1
    highest = photo.predict_proba(photographs).max(axis=1)
    assert metrics["calibrated"]["loss"] == pytest.approx(-np.log(highest).mean(), rel=1e-4)


@pytest.mark.parametrize(
    "labels", [[0.5] * 100, [[1, 2]] * 100, [-1] * 100, [300] * 100, [None] * 100], ids=str
)
def test_invalid_labels_are_rejected(classifier, small, labels):
    with pytest.raises(DataError, match="labels"):
        classifier.evaluate(small.test.images, labels)


def test_labels_that_do_not_match_the_images_are_rejected(classifier, small):
    with pytest.raises(DataError, match="100 images but 3 labels"):
        classifier.evaluate(small.test.images, [1, 2, 3])
    with pytest.raises(DataError, match="label 10"):
        classifier.evaluate(small.test.images[:1], [10])
    with pytest.raises(UsageError, match="labels are missing"):
        classifier.evaluate(small.test.images)


def test_data_without_a_test_split_is_rejected(classifier, small):
    with pytest.raises(DataError, match="no test split"):
        classifier.evaluate(replace(small, test=None))


def test_repr_has_architecture_and_dataset(classifier):
    assert repr(classifier) == ("Classifier(fashion_cnn, 6,794 parameters, trained on sketches)")


@contextlib.contextmanager
def float64():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


STATES = {
    "float64": float64,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "two threads": two_threads,
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
def test_calls_ignore_and_keep_the_callers_state_of_torch(
    state, small, classifier, photo, photographs
):
    expected = photo.predict_proba(photographs), classifier.evaluate(small)["loss"]
    with state():
        before = describe_state()
        trained = Classifier.train(data=small, **TRAINING)
        loaded = Classifier.load("photo", device="cpu")
        results = loaded.predict_proba(photographs), classifier.evaluate(small)["loss"]
        assert describe_state() == before
    np.testing.assert_allclose(results[0], expected[0], rtol=1e-4)
    assert results[1] == pytest.approx(expected[1], rel=1e-5)
    assert len(trained.history) == 1


def test_training_starts_from_a_model_with_other_classes(classifier, small, tmp_path):
    """Without progress, it predicts as the model to start from among the classes that stay."""
    classifier.save(tmp_path / "model")
    is_kept = small.train.labels != small.class_names.index("Coat")
    images, labels = small.train.images[is_kept], small.train.labels[is_kept]
    names = np.array(small.class_names)
    own = Classifier(
        start=tmp_path / "model",
        validation=0,
        optimizer__learning_rate=1e-12,
        optimizer__adam_learning_rate=1e-12,
        **TRAINING,
    ).fit(images, names[labels])
    probabilities = classifier.predict_proba(images)
    probabilities[:, small.class_names.index("Coat")] = 0
    np.testing.assert_array_equal(own.predict(images), names[probabilities.argmax(axis=1)])
    assert "Coat" not in own.class_names
    expected = classifier._fitted.model.spec.preprocessing
    assert own._fitted.model.spec.preprocessing == expected


def test_class_in_other_case_than_the_models_is_a_warning(classifier, small, tmp_path):
    classifier.save(tmp_path / "model")
    names = np.char.replace(np.array(small.class_names)[small.train.labels], "Coat", "coat")
    own = Classifier(start=tmp_path / "model", validation=0, progress=False, **TRAINING)
    with pytest.warns(UserWarning, match="class 'coat' is new, since the model calls it 'Coat'"):
        own.fit(small.train.images, names)


def test_parameters_that_contradict_the_model_to_start_from_are_rejected(classifier, small):
    images, labels = small.train.images, small.train.labels
    for name in ("model__hidden", "channels", "data__views"):
        with pytest.raises(UsageError, match="is that of the model to start from"):
            Classifier(start="accurate", **{name: 3}).fit(images, labels)
    with pytest.raises(UsageError, match="start of type Classifier"):
        Classifier(start=classifier).fit(images, labels)
    with pytest.raises(UsageError, match="no such run or model folder"):
        Classifier(start="nowhere").fit(images, labels)


def test_color_images_are_trained_in_color(sketches):
    """A red and a blue shape of the same brightness differ in color only."""
    random = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = random.integers(0, 20, (40, 16, 16, 3), np.uint8)
    images[labels == 0, 4:12, 4:12, 0] = 200
    images[labels == 1, 4:12, 4:12, 2] = 200
    trained = Classifier(
        channels=3, seed=1, batch_size=8, **{**TRAINING, "epochs": 8}, optimizer__learning_rate=3e-3
    ).fit(images, labels)
    assert trained._fitted.model.spec.preprocessing.channels == 3
    assert trained.score(images, labels) > 0.9


def test_settings_of_loading_have_an_effect(tmp_path):
    for level, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for i in range(6):
            Image.new("RGB", (28, 28), (90 * level, i, 7)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "bee" / "0.png").write_bytes(b"broken")
    settings = {"epochs": 1, "batch_size": 4, "device": "cpu", "track_test": False, "channels": 3}
    with pytest.raises(DataError, match=r"bee/0\.png: not a .*"):
        Classifier.train(data=tmp_path, **settings)
    with pytest.warns(UserWarning, match=r"skipped .*bee/0\.png: not a"):
        classifier = Classifier.train(data=tmp_path, skip_broken=True, **settings)
    assert classifier.class_names == ("ant", "bee")


def frame_of(images, labels):
    frame = pd.DataFrame(images.reshape(len(images), -1))
    frame["label"] = labels
    return frame


def tensors_of(images, labels):
    return torch.utils.data.TensorDataset(*map(torch.from_numpy, (images, labels)))


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y],
        lambda x, y: (iter(x), y),
        lambda x, y: (x, tuple(y.tolist())),
        lambda x, y: ((x, y), (x[:9], y[:9])),
        frame_of,
        tensors_of,
    ],
    ids=["pair", "list", "iterator", "tuple of labels", "training and test", "frame", "tensors"],
)
def test_labels_in_data_of_every_form_are_predicted_as_given(form, small, quick):
    images, labels = small.train.images[:40], small.train.labels[:40].astype(int) % 3 + 1
    trained = Classifier.train(data=form(images, labels), **quick)
    assert trained.classes_.tolist() == [1, 2, 3]
    expected = Classifier.train(data=(images, labels), **quick).predict_proba(images)
    np.testing.assert_array_equal(trained.predict_proba(images), expected)


@pytest.mark.parametrize("form", [frame_of, tensors_of, lambda x, y: ((x, y), (x[:9], y[:9]))])
def test_training_from_a_model_takes_data_of_every_form(form, small, classifier, tmp_path):
    """Its views are not those of plain images."""
    classifier.save(tmp_path / "model")
    images, labels = small.train.images[:40], small.train.labels[:40].astype(int)
    start = {"start": tmp_path / "model", "validation": 0, **TRAINING}
    trained = Classifier.train(data=form(images, labels), **start)
    expected = Classifier.train(data=(images, labels), **start)
    np.testing.assert_array_equal(trained.predict_proba(images), expected.predict_proba(images))


@pytest.mark.filterwarnings("ignore:.*are read as labels of the model")
def test_data_of_every_form_is_evaluated_as_it_is_predicted(photo, photographs):
    """Photographs in a frame, a dataset or a table are converted as the model does it."""
    arrays = np.stack([np.asarray(image.resize((40, 60))) for image in photographs])
    labels = np.arange(4)
    expected = without_dataset(photo.evaluate(arrays, labels))
    tensors = tensors_of(arrays, labels)
    images = [
        (Image.fromarray(array), int(label)) for array, label in zip(arrays, labels, strict=True)
    ]

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, position):
            return images[position]

    for data in ((arrays, labels), tensors, Images()):
        assert without_dataset(photo.evaluate(data)) == expected


def test_images_that_were_loaded_otherwise_are_not_evaluated(photo, photographs, tmp_path):
    for name, image in zip(("Bag", "Coat"), photographs, strict=False):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    with pytest.raises(
        DataError, match=r"loaded as 'plain', but the model reads .* as 'photo'; gi"
    ):
        photo.evaluate(load_data(tmp_path))
    assert photo.evaluate(tmp_path)["n"] == 2


def test_broken_images_are_left_out_of_the_evaluation(photo, photographs, tmp_path):
    for name, image in zip(("Bag", "Coat"), photographs, strict=False):
        (tmp_path / name).mkdir()
        image.save(tmp_path / name / "0.png")
    (tmp_path / "Bag" / "1.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"1 image file cannot be read; .*, or set skip_broken: "):
        photo.evaluate(tmp_path)
    with pytest.warns(UserWarning, match=r"skipped .*1\.png"):
        assert photo.evaluate(tmp_path, skip_broken=True)["n"] == 2
    with pytest.raises(UsageError, match="skip_broken = True: has no effect on images with labels"):
        photo.evaluate(photographs, [0, 1, 2, 3], skip_broken=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: Classifier.load(5), "path of type int: should be a path"),
        (lambda c: Classifier.load(None), "path of type NoneType: should be a path"),
        (lambda c: Classifier.load(""), "path: empty; should be a path"),
        (lambda c: Classifier.load("photo", device=0), "device of type int: should be a string"),
        (lambda c: Classifier.load("photo", backend=["onnx"]), "backend = "),
        (lambda c: c.save(None), "path of type NoneType"),
        (lambda c: c.save(""), "path: empty"),
        (lambda c: c.evaluate("sketches", skip_broken="no"), "skip_broken = 'no': should be True"),
        (lambda c: Classifier.train(data="sketches", out=5), "out of type int: should be a path"),
        (lambda c: Classifier.train(data="sketches", track=5), "track of type int: should be a"),
        (lambda c: Classifier.train(data="sketches", track=[5]), "track of type list"),
        (lambda c: Classifier.train(data="sketches", progress="no"), "progress = 'no': should be"),
        (lambda c: Classifier.train(data="sketches", callbacks=Callback()), "callbacks of type Ca"),
        (
            lambda c: Classifier.train(data="sketches", callbacks=[Callback]),
            "Callback is no object",
        ),
        (lambda c: Classifier.train(data="sketches", callbacks=[print]), "builtin_function_or_"),
        (lambda c: load_data("sketches", offline="no"), "offline = 'no': should be True or False"),
        (lambda c: load_data("sketches", skip_broken=1), "skip_broken = 1: should be True or"),
        (lambda c: load_data("sketches", image_size="x"), "image_size = x: must be an integer"),
        (
            lambda c: load_data("sketches", image_size=40),
            "image_size = 40: only image files, tables and arrays are resized; .* are 28×28; omit",
        ),
        (lambda c: load_data(load_data("sketches"), image_size=40), "image_size = 40: only"),
    ],
)
def test_arguments_of_unsupported_types_are_rejected(call, message, classifier):
    with pytest.raises(UsageError, match=message):
        call(classifier)
    assert list(Path().iterdir()) == []
