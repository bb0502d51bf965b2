import numpy as np

from fashioncnn.data.sketches import OVERSAMPLING, SIZE, _block_means, draw_split


def test_sizes_types_and_class_balance(sketches):
    assert sketches.train.images.shape == (3000, 28, 28)
    assert sketches.test.images.shape == (1000, 28, 28)
    assert sketches.train.images.dtype == np.uint8
    assert np.bincount(sketches.train.labels).tolist() == [300] * 10
    assert np.bincount(sketches.test.labels).tolist() == [100] * 10


def test_images_are_a_function_of_the_generator():
    first, again, other = (draw_split(np.random.default_rng(s), 20).sha256 for s in (1, 1, 2))
    assert first == again != other


def test_no_image_is_in_both_splits(sketches):
    train = {image.tobytes() for image in sketches.train.images}
    assert not any(image.tobytes() in train for image in sketches.test.images)


def test_garments_are_light_on_a_dark_background(sketches):
    images = sketches.train.images
    border = np.concatenate([images[:, 0].ravel(), images[:, -1].ravel()])
    assert np.median(border) < 20 < images.mean()


def test_means_of_blocks_are_exact():
    side = SIZE * OVERSAMPLING
    image = np.random.default_rng(0).integers(0, 256, (side, side), np.uint8)
    image[:OVERSAMPLING, :OVERSAMPLING] = 255
    means = image.reshape(SIZE, OVERSAMPLING, SIZE, OVERSAMPLING).mean(axis=(1, 3))
    np.testing.assert_array_equal(_block_means(image), means)
