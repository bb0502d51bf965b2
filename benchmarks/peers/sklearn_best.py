"""The most accurate scikit-learn models for a given training time; mode ``accuracy`` only.

Linear models, discriminant analysis, trees, forests, boosting, nearest neighbors, kernels with
Nyström features, support vector machines and multi-layer perceptrons were compared on pixels and on
principal components. Two were never beaten in accuracy by a model that trains as fast: nearest
neighbors, which hardly train, and support vector machines, on as many images as the time allows.
Components, C and gamma were selected on validation images.

Each message is a separate model, trained from scratch on ``images`` images of the training split.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import protocol
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

COMPONENTS = 80


def nearest_neighbors(threads: int, seed: int) -> Pipeline:
    """Return 5 nearest neighbors on principal components."""
    knn = KNeighborsClassifier(5, weights="distance", n_jobs=threads)
    return make_pipeline(PCA(COMPONENTS, random_state=seed), knn)


def support_vector_machine(_threads: int, seed: int) -> Pipeline:
    """Return a support vector machine on principal components; it uses a single thread."""
    return make_pipeline(PCA(COMPONENTS, random_state=seed), SVC(C=10, cache_size=2000))


MODELS: dict[str, tuple[Callable[[int, int], Pipeline], tuple[int, ...]]] = {
    "pca_knn": (nearest_neighbors, (60_000,)),
    "pca_svc": (support_vector_machine, (5_000, 10_000, 20_000, 40_000, 60_000)),
}
"""Each model, and the numbers of images on which it is trained."""


def to_arrays(
    images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, 784) float32 pixels in [0, 1], and labels."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


def main() -> None:
    """Measure."""
    parser = protocol.make_parser(__doc__)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--images", type=int, nargs="+", help="training images of each model")
    options = parser.parse_args()
    if options.mode != "accuracy":
        parser.error(f"{options.mode}: not supported, these models have no training steps")
    data = protocol.read_data()
    images, labels = to_arrays(data.train_images, data.train_labels)
    test_images, test_labels = to_arrays(data.test_images, data.test_labels)
    order = np.random.default_rng(options.seed).permutation(len(images))
    build, counts = MODELS[options.model]
    setup_seconds = time.perf_counter() - protocol.STARTED
    with threadpool_limits(options.threads):
        for number, count in enumerate(options.images or counts, 1):
            subset = order[:count]
            model = build(options.threads, options.seed)
            started = time.perf_counter()
            model.fit(images[subset], labels[subset])
            trained = time.perf_counter()
            accuracy = float(model.score(test_images, test_labels))
            protocol.send(
                epoch=number,
                images=len(subset),
                train_seconds=trained - started,
                test_seconds=time.perf_counter() - trained,
                setup_seconds=setup_seconds,
                test_accuracy=accuracy,
            )


if __name__ == "__main__":
    main()
