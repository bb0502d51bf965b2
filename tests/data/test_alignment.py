import numpy as np
import pytest

from fashioncnn.data.alignment import (
    UnknownClassError,
    align_classes,
    check_names,
    mapped_names,
    without_missing,
)
from fashioncnn.data.dataset import FASHION_MNIST_CLASSES, Dataset
from fashioncnn.errors import UsageError

IMAGES = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8)


def make(*labels):
    return Dataset.from_arrays(IMAGES + 2, list(labels), name="own")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["Bag", "Dress", "Bag", "Sandal"], [8, 3, 8, 5]),
        (["t_shirt-Top", "ankle_boot", "SNEAKER", "t_shirt-Top"], [0, 9, 7, 0]),
        (["0", "9", "3", "3"], [0, 9, 3, 3]),
        ([0, 9, 3, 3], [0, 9, 3, 3]),
    ],
)
def test_classes_are_found_by_name(labels, expected):
    aligned = align_classes(make(*labels), FASHION_MNIST_CLASSES)
    assert aligned.class_names == FASHION_MNIST_CLASSES
    assert aligned.train.labels.tolist() == expected
    np.testing.assert_array_equal(aligned.train.images, IMAGES + 2)


def test_integers_are_names_where_the_model_has_such_names():
    aligned = align_classes(make(10, 2, 2, 10), ("1", "10", "2"))
    assert aligned.train.labels.tolist() == [1, 2, 2, 1]


def test_integers_as_labels_are_reported():
    messages = []
    align_classes(make(0, 1, 2, 3), FASHION_MNIST_CLASSES, notify=messages.append)
    assert messages == [
        "arrays in memory: the class names 0, 1, 2 … are read as labels of the model"
    ]


@pytest.mark.parametrize("labels", [("Bag", "bags"), ("Bag", "3"), ("0", "12")])
def test_unknown_class_is_rejected(labels):
    with pytest.raises(UnknownClassError, match=r"not (one of|among) the model's \(T-shirt/top, T"):
        align_classes(make(*labels * 2), FASHION_MNIST_CLASSES)


def test_names_that_differ_in_case_only_are_not_confused():
    labels = ("a", "A", "b")
    assert align_classes(make("A", "b", "b", "b"), labels).train.labels.tolist() == [1, 2, 2, 2]
    with pytest.raises(
        UnknownClassError, match=r"class '_A' is not one of the model's \(a, A, b\)"
    ):
        align_classes(make("_A", "b", "b", "b"), labels)


def test_mapping_takes_precedence_and_a_class_may_be_outside():
    messages = []
    mapping = {"pants": ["Trouser"], "hat": [], "Bag": ["Dress"]}
    aligned = align_classes(
        make("pants", "hat", "Bag", "Coat"), FASHION_MNIST_CLASSES, mapping, messages.append
    )
    split = aligned.train
    assert split.in_classes.tolist() == [True, False, True, True]
    assert split.labels[split.in_classes].tolist() == [1, 3, 4]
    assert split.within_classes().indices.tolist() == [0, 2, 3]
    assert split.outside_classes().indices.tolist() == [1]
    assert messages == ["arrays in memory: 1 images of hat are outside of the classes"]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"pant": ["Trouser"]}, "map pant: .*no such class; did you mean 'pants'"),
        ({"pants": ["Trousers"]}, "map pants=Trousers: the model .*; did you mean 'Trouser'"),
    ],
)
def test_mapping_of_or_to_unknown_classes_is_rejected(mapping, message):
    with pytest.raises(UsageError, match=message):
        align_classes(make("pants", "Bag", "Bag", "Bag"), FASHION_MNIST_CLASSES, mapping)


def test_classes_of_a_name_with_several_are_all_correct():
    original = make("shoes", "Bag", "hat", "Sandal")
    mapping = {"shoes": ["Sandal", "Sneaker"], "hat": []}
    split = align_classes(original, FASHION_MNIST_CLASSES, mapping).train
    assert [np.flatnonzero(row).tolist() for row in split.allowed] == [[5, 7], [8], [], [5]]
    scores = np.eye(10)[[7, 8, 0, 7]]
    assert split.correct_labels(scores)[split.in_classes].tolist() == [7, 8, 5]
    one = {"shoes": ["Sandal"], "hat": ["Bag"]}
    assert align_classes(original, FASHION_MNIST_CLASSES, one).train.allowed is None


def test_sets_of_classes_are_strata_and_change_the_hash():
    original = make("shoes", "Sandal", "shoes", "hat")
    mapping = {"shoes": ["Sandal", "Sneaker"], "hat": []}
    split = align_classes(original, FASHION_MNIST_CLASSES, mapping).train
    assert split.strata[0] == split.strata[2]
    assert len(set(split.strata.tolist())) == 3
    plain = align_classes(original, FASHION_MNIST_CLASSES, {**mapping, "hat": ["Sandal"]}).train
    assert split.labels[:3].tolist() == plain.labels[:3].tolist()
    assert split.sha256 != plain.sha256


def test_classes_after_mapping_are_in_natural_order():
    mapping = {"shoes": ["b", "size 10"], "hat": []}
    assert mapped_names(("hat", "shoes", "size 9"), mapping) == ("b", "size 9", "size 10")


def test_all_unknown_classes_are_reported_together():
    names = ["caps", "Coat", *(f"own {i}" for i in range(12))]
    message = (
        r"closet: classes 'caps', 'own 0', .*'own 8' and 3 more are not among the model's "
        r"\(T-shirt/top, Trouser, Pullover …\); map each to one of them$"
    )
    with pytest.raises(UnknownClassError, match=message) as raised:
        check_names(names, FASHION_MNIST_CLASSES, {}, "closet")
    assert raised.value.names == tuple(name for name in names if name != "Coat")
    options = str(raised.value.with_options())
    assert options.endswith(
        " with " + " ".join(f"--map '{n}=CLASS'" for n in raised.value.names[:10])
    )
    check_names(["caps", "Coat"], FASHION_MNIST_CLASSES, {"caps": []}, "closet")


def test_names_of_a_mapping_that_data_lacks_are_left_out():
    mapping = {"pants": ["Trouser"], "hat": [], "sock": []}
    assert without_missing(mapping, ("pants",), {"sock"}) == (
        {"pants": ["Trouser"], "sock": []},
        ["hat"],
    )
