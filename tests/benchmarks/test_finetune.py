import numpy as np
import pytest

import finetune

NAMES = [f"{number}.jpg" for number in range(300)]


@pytest.fixture
def photographs():
    labels = (np.arange(300) % 10).astype(np.uint8)
    classes = [
        "dress",
        "hat",
        "longsleeve",
        "outwear",
        "pants",
        "shirt",
        "shoes",
        "shorts",
        "skirt",
        "t-shirt",
    ]
    views = [np.full((2, 4, 4), number % 256, np.uint8) for number in range(300)]
    return finetune.Photographs(NAMES, labels, tuple(classes), views)


def test_report_set_is_never_trained_on(photographs):
    reported = {i for i, name in enumerate(NAMES) if finetune.is_reported(name)}
    assert 30 < len(reported) < 90  # about a fifth
    train, held_out = finetune.partition(photographs, report=True, fold=1)
    assert set(held_out) == reported
    assert set(train) == set(range(300)) - reported
    for fold in range(1, 6):
        train, held_out = finetune.partition(photographs, report=False, fold=fold)
        assert not reported & {*train, *held_out}
        assert not set(train) & set(held_out)


def test_draws_have_the_same_number_of_each_class(photographs):
    positions = np.arange(100, 300)
    draws = [finetune.draw(positions, photographs.labels, 5, number) for number in (1, 1, 2)]
    assert np.bincount(photographs.labels[draws[0]]).tolist() == [5] * 10
    assert draws[0].min() >= 100
    assert draws[0].tolist() == draws[1].tolist() != draws[2].tolist()
    assert finetune.draw(positions, photographs.labels, None, 1) is positions


def test_shared_classes_have_the_names_of_fashion_mnist(photographs):
    shared = finetune.with_shared_classes(photographs)
    assert len(shared.labels) == 210
    original = photographs.class_names[photographs.labels[int(shared.views[7][0, 0, 0])]]
    assert shared.class_names[shared.labels[7]] == finetune.SHARED_CLASSES[original]


def test_recorded_results(call):
    rows = [line for line in call(finetune, "--table").splitlines() if "| 20 |" in line]
    assert "| photo-zero-shot | own | 20 | 1 | fold 1 of 5 (496) | 76.2% | 48% |" in rows
    assert "| photo-zero-shot | own | 20 | 3 | report set (589) | 79.2 ± 2.3% | 56 ± 6% |" in rows
    assert "| scratch, fast93, 64 px, color | own | all |" in call(finetune, "--table")
