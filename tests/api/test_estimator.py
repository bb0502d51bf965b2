"""The protocol of scikit-learn, with scikit-learn itself."""

import copy
import pickle
import sys
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.validation import check_is_fitted

from fashioncnn import (
    Classifier,
    ConfigError,
    DataError,
    ImageError,
    NotFittedError,
    UsageError,
)
from fashioncnn.api import estimator


def test_parameters_are_those_that_were_given():
    classifier = Classifier("honest", epochs=3, optimizer__learning_rate=1e-2)
    expected = {
        "recipe": "honest",
        "start": None,
        "network": None,
        "callbacks": (),
        "progress": True,
        "epochs": 3,
        "optimizer__learning_rate": 1e-2,
    }
    assert classifier.get_params() == expected
    assert repr(classifier) == "Classifier('honest', epochs=3, optimizer__learning_rate=0.01)"


def test_set_params_changes_parameters_and_settings():
    classifier = Classifier(epochs=3)
    assert classifier.set_params(recipe="honest", epochs=4, seed=1) is classifier
    assert classifier.get_params() == {**Classifier("honest").get_params(), "epochs": 4, "seed": 1}


def test_set_params_rejects_an_unknown_name_and_changes_nothing():
    classifier = Classifier(epochs=3)
    with pytest.raises(UsageError, match="no setting 'epoch'; did you mean 'epochs'"):
        classifier.set_params(seed=1, epoch=4)
    assert classifier.get_params() == Classifier(epochs=3).get_params()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("epoch", "did you mean 'epochs'"),
        ("optimizer__learning_rat", "did you mean 'optimizer__learning_rate'"),
        ("random_state", "did you mean 'seed'"),
        ("verbose", "did you mean 'progress'"),
        ("data", "data is an argument of fit"),
        ("data__source", "data is an argument of fit"),
    ],
)
def test_fit_rejects_unknown_settings_with_the_nearest_name(name, hint, images, names):
    classifier = Classifier(**{name: 1})  # as scikit-learn requires, without a check
    with pytest.raises(UsageError, match=f"no setting '{name}'; {hint}"):
        classifier.fit(images, names)


def test_fit_rejects_invalid_values(images, names):
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate = -1"):
        Classifier(optimizer__learning_rate=-1).fit(images, names)
    with pytest.raises(ConfigError, match=r"training\.epochs = 1\.5"):
        Classifier(epochs=1.5).fit(images, names)
    with pytest.raises(UsageError, match="recipe of type int"):
        Classifier(3).fit(images, names)
    with pytest.raises(UsageError, match="epochs and training__epochs are the same setting"):
        Classifier(epochs=1, training__epochs=2).fit(images, names)


def test_settings_reach_the_training(quick, images, names):
    fitted = Classifier(**{**quick, "epochs": 2}, optimizer__learning_rate=0.05).fit(images, names)
    assert [record["learning_rate"] for record in fitted.history] == [0.05, 0.05]


def test_labels_are_predicted_as_they_were_given(fitted, images, names):
    assert fitted.classes_.tolist() == sorted(set(names))
    predicted = fitted.predict(images)
    assert set(predicted) <= set(names)
    assert predicted.tolist() == fitted.classes_[fitted.predict_proba(images).argmax(1)].tolist()
    assert fitted.class_names == tuple(fitted.classes_)


@pytest.mark.parametrize("kind", [int, bool, "series of int", "series of str", "list"], ids=str)
def test_labels_of_every_kind_survive(kind, quick, images, names, tmp_path, monkeypatch):
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    codes = np.unique(names, return_inverse=True)[1]
    labels = {
        int: codes * 10 - 30,
        bool: codes > 4,
        "series of int": pd.Series(codes * 7),
        "series of str": pd.Series(names),
        "list": names.tolist(),
    }[kind]
    fitted = Classifier(**quick).fit(images, labels)
    assert fitted.classes_.tolist() == np.unique(np.asarray(labels)).tolist()
    assert fitted.score(images, labels) == np.mean(fitted.predict(images) == np.asarray(labels))
    if kind is not bool:
        fitted.save(tmp_path / "model")
        loaded = Classifier.load(tmp_path / "model", device="cpu")
        assert loaded.classes_.tolist() == fitted.classes_.tolist()


@pytest.mark.parametrize(
    "form",
    [
        torch.tensor,
        lambda labels: np.array(labels.tolist(), object),
        lambda labels: pd.Series(labels, dtype="boolean"),
        lambda labels: pd.Series(labels).astype("category"),
    ],
    ids=["tensor", "objects", "nullable", "category"],
)
def test_booleans_of_every_container_are_predicted_as_booleans(form, quick, images, names):
    labels = np.unique(names, return_inverse=True)[1] > 4
    fitted = Classifier(**quick).fit(images, form(labels))
    assert fitted.classes_.dtype == bool
    assert fitted.score(images, labels) == np.mean(fitted.predict(images) == labels)


def test_strings_of_numpy_2_are_labels_and_paths(quick, images, names, tmp_path):
    strings = np.dtypes.StringDType()
    paths = [str(tmp_path / f"{number}.png") for number in range(100)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    fitted = Classifier(**quick).fit(np.array(paths, strings), np.array(names, strings))
    assert fitted.classes_.tolist() == sorted(set(names))
    given = fitted.predict(np.array(paths[:3], strings)), fitted.predict(paths[:3])
    assert given[0].tolist() == given[1].tolist()


@pytest.mark.parametrize("labels", ["int", "str", "bool"])
@pytest.mark.parametrize("form", ["frame", "pair", "list", "keras", "torch"])
def test_labels_of_data_in_memory_are_predicted_as_given(form, labels, quick, images, names):
    codes = np.unique(names, return_inverse=True)[1]
    y = {"int": codes * 3 + 1, "str": (codes * 3 + 1).astype(str), "bool": codes > 4}[labels]
    data = {
        "frame": pd.DataFrame(images.reshape(100, -1)).add_prefix("pixel").assign(label=y),
        "pair": (images, y),
        "list": [images, y],
        "keras": ((images, y), (images[:50], y[:50])),
        "torch": Items(images, y.tolist()),
    }[form]
    trained = Classifier.train(data=data, track_test=False, **quick)
    assert set(trained.classes_.tolist()) == set(y.tolist())
    assert trained.predict(images).dtype.kind == y.dtype.kind


def test_class_names_of_a_dataset_are_predicted(quick, images, names):
    """As those of torchvision, whose labels are positions in them."""
    classes, codes = np.unique(names, return_inverse=True)
    data = Items(images, codes.tolist())
    data.classes = classes.tolist()
    trained = Classifier.train(data=data, track_test=False, **quick)
    assert trained.classes_.tolist() == classes.tolist()


class Items:
    """A dataset as of PyTorch."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, position):
        return self.images[position], self.labels[position]


def test_numbers_as_names_keep_the_order_of_numpy(quick, images, names):
    """Metrics of scikit-learn, such as log loss, sort the labels as NumPy does."""
    codes = np.unique(names, return_inverse=True)[1] + 1
    labels = codes.astype(str)
    fitted = Classifier(**quick).fit(images, labels)
    assert fitted.classes_.tolist()[:2] == ["1", "10"]
    loss = -np.log(
        fitted.predict_proba(images)[np.arange(100), np.searchsorted(fitted.classes_, labels)]
    ).mean()
    assert fitted.evaluate(images, labels)["loss"] == pytest.approx(loss, rel=1e-4)
    assert fitted.evaluate(images, codes) == fitted.evaluate(images, labels)


IMAGES = {
    "rows": lambda x: x.reshape(100, -1),
    "frame": lambda x: pd.DataFrame(x.reshape(100, -1)),
    "channel": lambda x: x[..., None],
    "floats": lambda x: x / 255,
    "float32 rows": lambda x: (x / np.float32(255)).reshape(100, -1),
    "list of arrays": list,
    "PIL images": lambda x: [Image.fromarray(one) for one in x],
}


@pytest.mark.parametrize("form", IMAGES.values(), ids=IMAGES)
def test_every_form_of_the_same_images_gives_the_same_model(form, quick, fitted, images, names):
    given = form(images)
    other = Classifier(**quick).fit(given, names)
    expected = fitted.predict_proba(images)
    np.testing.assert_array_equal(other.predict_proba(given), expected)
    np.testing.assert_array_equal(fitted.predict_proba(given), expected)


def test_paths_are_images(quick, images, names, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    frame = pd.DataFrame({"path": [str(path) for path in paths]})
    by_path = Classifier(**quick).fit(paths, names).predict_proba(paths)
    by_frame = Classifier(**quick).fit(frame, names).predict_proba(frame)
    by_array = Classifier(**quick).fit(images, names).predict_proba(images)
    np.testing.assert_array_equal(by_path, by_array)
    np.testing.assert_array_equal(by_frame, by_array)


def test_number_of_features_is_that_of_rows(quick, images, names, fitted):
    rows = Classifier(**quick).fit(images.reshape(100, -1), names)
    assert rows.n_features_in_ == 784
    assert not hasattr(fitted, "n_features_in_")
    with pytest.raises(UsageError, match="100 features, but the classifier expects 784"):
        rows.predict(np.zeros((3, 100)))


def test_before_fit_everything_is_rejected(images):
    classifier = Classifier()
    for call in (classifier.predict, classifier.predict_proba, classifier.predictions):
        with pytest.raises(NotFittedError, match="not trained yet"):
            call(images)
    with pytest.raises(ValueError, match="not trained yet"):  # as scikit-learn's own
        classifier.score(images, [0] * 100)
    assert not hasattr(classifier, "classes_")
    with pytest.raises(Exception, match="not fitted yet"):
        check_is_fitted(classifier)


def test_error_before_fit_is_that_of_scikit_learn(images, monkeypatch):
    from sklearn.exceptions import NotFittedError as Theirs

    with pytest.raises(Theirs, match="not trained yet") as caught:
        Classifier().predict(images)
    error = pickle.loads(pickle.dumps(caught.value))  # as from a process of joblib
    assert isinstance(error, NotFittedError)
    assert isinstance(error, Theirs)
    assert str(error) == str(caught.value)
    monkeypatch.setitem(sys.modules, "sklearn.exceptions", None)
    with pytest.raises(NotFittedError) as caught:
        Classifier().predict(images)
    assert type(caught.value) is NotFittedError


class OfTables(Classifier):
    """Trains on tables of numbers, which scikit-learn's checks have, as images of 8×8 pixels."""

    def fit(self, X, y):  # noqa: N803
        return super().fit(self._images(X), y)

    def predict_proba(self, X):  # noqa: N803
        return super().predict_proba(self._images(X))

    @staticmethod
    def _images(table):
        fractions = 1 / (1 + np.exp(-np.asarray(table, float)))
        return np.stack([np.resize(row, (8, 8)) for row in fractions])


CHECKS = [
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_decision_proba_consistency",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_f_contiguous_array_estimator",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_get_params_invariance",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_parameters_default_constructible",
    "check_pipeline_consistency",
    "check_readonly_memmap_input",
    "check_set_params",
    "check_valid_tag_types",
]
"""Those of `sklearn.utils.estimator_checks.check_estimator` that do not expect scikit-learn's
messages about malformed tables, or features of one pixel."""


@pytest.mark.filterwarnings("ignore")
def test_checks_of_scikit_learn_pass(quick):
    from sklearn.utils.estimator_checks import estimator_checks_generator

    passed = set()
    for estimator_of_check, check in estimator_checks_generator(OfTables(validation=0, **quick)):
        name = getattr(check, "func", check).__name__
        if name in CHECKS:
            check(estimator_of_check)
            passed.add(name)
    assert passed == set(CHECKS)


def test_a_failed_fit_keeps_the_model(quick, images, names):
    classifier = Classifier(**quick).fit(images, names)
    expected = classifier.predict_proba(images)
    with pytest.raises(DataError, match="100 images but 3 labels"):
        classifier.fit(images, names[:3])
    np.testing.assert_array_equal(classifier.predict_proba(images), expected)


def test_score_counts_labels_that_the_training_did_not_have_as_mistakes(fitted, images, names):
    expected = fitted.score(images, names)
    predicted = fitted.predict(images)
    labels = np.where(predicted == names, "other", names)
    assert expected > 0
    assert fitted.score(images, labels) == 0
    assert fitted.score(images, names, sample_weight=(predicted == names)) == 1
    with pytest.raises(DataError, match="'other' at position 1"):
        fitted.score(images[:2], ["unknown", "other"])
    with pytest.raises(DataError, match="100 images but 1 labels"):
        fitted.score(images, names[:1])


def test_tags_and_clone(fitted):
    assert is_classifier(fitted)
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    assert not hasattr(copied, "classes_")


def test_a_loaded_classifier_is_never_trained_anew(images, names):
    """Its settings are not known: a clone would silently be trained with others."""
    loaded = Classifier.load("accurate", device="cpu")
    for call in (lambda: clone(loaded), lambda: loaded.fit(images, names)):
        with pytest.raises(UsageError, match="loaded classifier"):
            call()
    with pytest.raises(UsageError, match="loaded classifier"):
        cross_val_score(loaded, images, names, cv=2)


def test_cross_validation(quick, images, names):
    scores = cross_val_score(Classifier(**quick), images, names, cv=2, error_score="raise")
    again = cross_val_score(Classifier(**quick), images, names, cv=2, error_score="raise")
    assert scores.tolist() == again.tolist()
    probabilities = cross_val_predict(
        Classifier(**quick), images, names, cv=2, method="predict_proba"
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.slow
def test_cross_validation_in_processes(quick, images, names):
    expected = cross_val_score(Classifier(**quick), images, names, cv=2)
    scores = cross_val_score(Classifier(**quick), images, names, cv=2, n_jobs=2)
    assert scores.tolist() == expected.tolist()


def test_grid_search_with_values_of_numpy(quick, images, names):
    grid = {"optimizer__learning_rate": np.array([1e-3, 1e-2]), "epochs": [np.int64(1)]}
    search = GridSearchCV(
        Classifier(**quick), grid, cv=2, scoring="neg_log_loss", error_score="raise"
    ).fit(images, names)
    assert set(search.best_params_) == {"optimizer__learning_rate", "epochs"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_learning_curve(quick, images, names):
    sizes, _, scores = learning_curve(
        Classifier(**quick), images, names, cv=2, train_sizes=[0.5, 1.0], error_score="raise"
    )
    assert sizes.tolist() == [25, 50]
    assert scores.shape == (2, 2)


def test_pipeline(quick, images, names):
    rows = images.reshape(100, -1)
    pipeline = make_pipeline(MinMaxScaler(), Classifier(**quick))
    pipeline.set_params(classifier__optimizer__learning_rate=1e-2)
    assert 0 <= pipeline.fit(rows, names).score(rows, names) <= 1
    assert "Classifier(" in repr(pipeline)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_predict_the_same(duplicate, fitted, images):
    expected = fitted.predict_proba(images)
    copied = duplicate(fitted)
    np.testing.assert_array_equal(copied.predict_proba(images), expected)
    assert copied.get_params() == fitted.get_params()
    assert copied.history == fitted.history
    assert not hasattr(duplicate(Classifier(epochs=3)), "classes_")


def test_scikit_learn_is_only_imported_for_itself(monkeypatch, quick, images, names):
    for module in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, module, None)
    fitted = Classifier(**quick).fit(images, names)
    assert 0 <= fitted.score(images, names) <= 1
    assert not hasattr(estimator, "sklearn")


def png_of(image):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def with_alpha(images):
    colors = np.repeat(images[..., None], 4, axis=3)
    colors[..., 3] = 255
    return colors


CONTENTS = {
    "bytes": lambda x: [png_of(one) for one in x],
    "files in memory": lambda x: [BytesIO(png_of(one)) for one in x],
    "iterator": lambda x: iter([Image.fromarray(one) for one in x]),
    "transparency": with_alpha,
    "list of arrays with transparency": lambda x: list(with_alpha(x)),
}


@pytest.mark.parametrize("form", CONTENTS.values(), ids=CONTENTS)
def test_images_to_fit_are_those_to_predict(form, quick, fitted, images, names):
    other = Classifier(**quick).fit(form(images), names)
    expected = fitted.predict_proba(images)
    np.testing.assert_array_equal(other.predict_proba(images), expected)
    np.testing.assert_array_equal(fitted.predict_proba(form(images)), expected)


def test_arrays_of_different_sizes_are_resized_only_if_that_is_asked_for(quick, images, names):
    given = [*images[:99], images[99][:14]]
    with pytest.raises(DataError, match="arrays of different shapes; make them equal"):
        Classifier(**quick).fit(given, names)
    assert Classifier(image_size=28, **quick).fit(given, names).predict(given).shape == (100,)


@pytest.mark.parametrize(
    "invalid", ["folder", {"a": 1}, None, 7, {1, 2}, [[1, 2], [3]], [None] * 100, [7] * 100]
)
def test_images_of_other_types_are_rejected(invalid, quick, names):
    with pytest.raises((UsageError, DataError), match=r"images|lists of numbers") as caught:
        Classifier(**quick).fit(invalid, names)
    assert "\n" not in str(caught.value)


def test_all_unreadable_images_are_listed_or_left_out(quick, images, names, tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    paths[3].write_bytes(b"broken")
    paths[8].unlink()
    message = r"2 image files cannot be read; .*, or set skip_broken: \S+3\.png: .*; \S+8\.png: no"
    with pytest.raises(ImageError, match=message):
        Classifier(**quick).fit(paths, names)
    kept = np.setdiff1d(np.arange(100), [3, 8])
    with pytest.warns(UserWarning, match="skipped"):
        fitted = Classifier(skip_broken=True, **quick).fit(iter(paths), names)
    expected = Classifier(**quick).fit(images[kept], names[kept])
    np.testing.assert_array_equal(fitted.predict_proba(images), expected.predict_proba(images))
    with pytest.raises(ImageError, match=r"^2 image files cannot be read; repair or remove them: "):
        fitted.predict(paths)


@pytest.mark.parametrize(
    "weights", [[1.0], "heavy", np.ones((100, 2)), [-1] * 100, [np.nan] * 100, [0] * 100], ids=str
)
def test_invalid_weights_of_a_score_are_rejected(weights, fitted, images, names):
    with pytest.raises(DataError, match="score: sample_weight"):
        fitted.score(images, names, sample_weight=weights)


def test_settings_without_effect_are_rejected(quick, images, names):
    """Teachers were checked by the command line only, and classes of the data by no one."""
    with pytest.raises(ConfigError, match=r"^distillation\.alpha: has no effect without teachers"):
        Classifier(**quick, distillation__alpha=0.5).fit(images, names)
    with pytest.raises(ConfigError, match=r"^optimizer\.learning_rate: has no effect with freeze"):
        Classifier(start="accurate", freeze="features", learning_rate=0.1).fit(images, names)
    for changed in ({"data__map": {"Coat": "Dress"}}, {"data__classes": sorted(set(names))}):
        with pytest.raises(UsageError, match=r"fit: data\.\w+ change the classes of the labels"):
            Classifier(**quick, **changed).fit(images, names)
    with pytest.raises(UsageError, match=r"fit: data\.map, .*data\.rehearsal change the cla"):
        Classifier("photo", start="photo-zero-shot").fit(images, names)
