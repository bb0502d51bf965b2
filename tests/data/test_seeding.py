import numpy as np

from fashioncnn.data.seeding import (
    augmentation_generator,
    dropout_seed,
    epoch_order,
    teacher_seed,
    weights_seed,
)


def test_order_is_a_permutation_and_a_pure_function():
    order = epoch_order(3, 5, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    np.testing.assert_array_equal(order, epoch_order(3, 5, 1000))


def test_orders_differ_by_seed_and_epoch():
    orders = {tuple(epoch_order(s, e, 50)) for s in range(4) for e in range(4)}
    assert len(orders) == 16


def test_order_does_not_change_between_versions():
    assert epoch_order(0, 0, 10).tolist() == [8, 4, 7, 0, 1, 2, 5, 9, 6, 3]


def test_seeds_differ_by_seed_step_and_purpose():
    seeds = {dropout_seed(s, t) for s in range(20) for t in range(20)}
    seeds |= {teacher_seed(s, t) for s in range(20) for t in range(20)}
    seeds |= {weights_seed(s) for s in range(20)}
    assert len(seeds) == 820


def test_augmentation_generators_differ_by_seed_epoch_and_stream():
    keys = [(s, e, stream) for s in range(3) for e in range(3) for stream in range(3)]
    assert len({augmentation_generator(*key).random() for key in keys}) == 27
