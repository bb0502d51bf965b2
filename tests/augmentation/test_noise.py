import numpy as np
import pytest
import torch
from scipy import stats

from fashioncnn.augmentation.noise import normal_field, uniform_field

KEYS = torch.tensor([1, 2, 2**32 - 1])
N = 10_000


def lowbias32(x: int) -> int:
    """Wellons' C function, line by line."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def test_uniform_field_is_the_published_hash_of_key_and_position():
    values = uniform_field(KEYS, 5, 3)
    for row, key in enumerate(KEYS.tolist()):
        for position in range(5):
            hashed = lowbias32(key ^ (256 * position + 4) * 0x9E3779B1 % 2**32)
            assert values[row, position].item() == pytest.approx((hashed + 0.5) / 2**32, abs=1e-7)


def test_uniform_field_is_uniform_and_inside_the_open_interval():
    values = uniform_field(KEYS, N, 7)
    assert values.dtype == torch.float32
    assert 0 < values.min() < values.max() < 1
    for row in values.numpy():
        assert stats.kstest(row, "uniform").pvalue > 1e-3


def test_normal_field_is_standard_normal():
    for row in normal_field(KEYS, N, 3).numpy():
        assert stats.kstest(row, "norm").pvalue > 1e-3


def test_rows_depend_on_their_own_key_only():
    assert torch.equal(uniform_field(KEYS[1:2], N, 7), uniform_field(KEYS, N, 7)[1:2])


def test_keys_and_streams_are_uncorrelated():
    fields = torch.cat([uniform_field(KEYS, N, stream) for stream in (0, 1, 255)])
    assert np.abs(np.corrcoef(fields.numpy()) - np.eye(9)).max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype_does_not_matter(dtype):
    expected = normal_field(KEYS, 100, 1)
    torch.set_default_dtype(dtype)
    try:
        assert torch.equal(normal_field(KEYS, 100, 1), expected)
    finally:
        torch.set_default_dtype(torch.float32)
