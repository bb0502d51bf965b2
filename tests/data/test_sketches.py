import numpy as np

from fashioncnn.data.contact_sheet import draw_contact_sheet
from fashioncnn.data.sketches import _draw_split, draw_sketches


def test_sizes_types_and_balance(sketches):
    assert sketches.train.images.shape == (3000, 28, 28)
    assert sketches.test.images.shape == (1000, 28, 28)
    assert sketches.train.images.dtype == np.uint8
    assert np.bincount(sketches.train.labels).tolist() == [300] * 10
    assert np.bincount(sketches.test.labels).tolist() == [100] * 10


def test_drawn_the_same_at_every_call(sketches):
    draw_sketches.cache_clear()
    assert draw_sketches().hashes == sketches.hashes


def test_no_image_is_in_both_parts(sketches):
    train = {image.tobytes() for image in sketches.train.images}
    assert not any(image.tobytes() in train for image in sketches.test.images)


def test_garment_is_light_on_a_dark_ground(sketches):
    images = sketches.train.images
    border = np.concatenate([images[:, 0].ravel(), images[:, -1].ravel()])
    assert np.median(border) < 20 < images.mean()


def test_another_generator_draws_others():
    one, two = (_draw_split(np.random.default_rng(s), 20) for s in (1, 2))
    assert one.sha256 != two.sha256


def test_sheet_has_a_row_for_each_class(small):
    sheet = draw_contact_sheet(small.train, small.class_names, "small", columns=4)
    pixels = np.asarray(sheet.convert("L"))
    assert pixels.shape[0] > 10 * 56
    assert pixels.min() < 60
