"""Views are the same bytes whatever computes them: number of threads, and images before it."""

import hashlib
import os
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.inference.inputs import load_views, map_in_order
from fashioncnn.inference.sources import ImageSource

HASH_OF_VIEWS = """
import hashlib
import numpy as np
from PIL import Image
from fashioncnn.images.views import photo_views
digest = hashlib.sha256()
for shape in ((90, 72, 3), (72, 72, 3), (500, 375, 3), (40, 300, 3)):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels[shape[0] // 4 : -shape[0] // 4, shape[1] // 4 : -shape[1] // 4] //= 3
    digest.update(photo_views(Image.fromarray(pixels), 28).tobytes())
print(digest.hexdigest())
"""


def hash_with_threads(n):
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, "-c", HASH_OF_VIEWS]
    environment = {**os.environ, **dict.fromkeys(names, str(n))}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_number_of_blas_threads_changes_nothing():
    assert hash_with_threads(1) == hash_with_threads(4)


@pytest.mark.parametrize("workers", [1, 4])
def test_views_do_not_depend_on_the_images_decoded_with_it(workers):
    rng = np.random.default_rng(0)
    sources = []
    for i in range(12):
        buffer = BytesIO()
        pixels = rng.integers(0, 256, (60 + i, 80, 3), np.uint8)
        Image.fromarray(pixels).resize((400, 300)).save(buffer, "JPEG")
        sources.append(ImageSource(str(i), buffer.getvalue()))
    preprocessing = Preprocessing(28, 0.0, 1.0, "photo")

    def digest(source):
        return hashlib.sha256(load_views(source, preprocessing).views).hexdigest()

    alone = [digest(source) for source in reversed(sources)]
    assert list(map_in_order(digest, sources, workers)) == alone[::-1]
