import struct

import pytest
from PIL import Image

from fashioncnn.images.exif import TRANSPOSITIONS, read_orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_as_pillow_writes_it(orientation):
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif[0x0112] = orientation
    assert read_orientation(exif.tobytes()) == orientation
    assert (orientation in TRANSPOSITIONS) == (orientation > 1)


@pytest.mark.parametrize(("mark", "order"), [(b"II*\0", "<"), (b"MM\0*", ">")])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_both_byte_orders_are_read(mark, order, prefix):
    block = mark + struct.pack(f"{order}IHHHIHH", 8, 1, 0x0112, 3, 1, 6, 0)
    assert read_orientation(prefix + block) == 6


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",  # the directory is outside of the block
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",  # declares entries that are missing
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0",  # a string, not a number
    ],
)
def test_malformed_block_is_upright(exif):
    assert read_orientation(exif) == 1
