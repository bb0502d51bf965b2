"""A peer: what scikit-learn does best in a given time; for accuracy by time only.

Judged were linear models, discriminants, trees, forests, boosting, neighbours, kernels with
Nyström's features, support vectors and the multi-layer perceptron, on pixels and on principal
components. Two were never beaten in accuracy by one that learns as fast: neighbours, which hardly
learn at all, and support vectors, on as many images as the time allows. Components, C and gamma
were chosen on held-out training images.

Each line is a model of its own, trained from nothing on ``images`` of the training part.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import common
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

COMPONENTS = 80


def neighbours(threads: int, seed: int) -> Pipeline:
    """Return the 5 nearest neighbours among principal components."""
    knn = KNeighborsClassifier(5, weights="distance", n_jobs=threads)
    return make_pipeline(PCA(COMPONENTS, random_state=seed), knn)


def support_vectors(_threads: int, seed: int) -> Pipeline:
    """Return a support vector machine on principal components; it uses one thread."""
    return make_pipeline(PCA(COMPONENTS, random_state=seed), SVC(C=10, cache_size=2000))


MODELS: dict[str, tuple[Callable[[int, int], Pipeline], tuple[int, ...]]] = {
    "pca_knn": (neighbours, (60_000,)),
    "pca_svc": (support_vectors, (5_000, 10_000, 20_000, 40_000, 60_000)),
}
"""Each model, and on how many images it is trained."""


def to_arrays(
    images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, 784) float32 pixels in [0, 1], and labels."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


def main() -> None:
    """Measure."""
    parser = common.make_parser(__doc__)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--selected", type=int, nargs="+", help="to learn from, a line for each")
    options = parser.parse_args()
    if options.mode != "accuracy":
        parser.error("there are no steps to count here: accuracy only")
    data = common.read_data()
    images, labels = to_arrays(data.train_images, data.train_labels)
    test_images, test_labels = to_arrays(data.test_images, data.test_labels)
    order = np.random.default_rng(options.seed).permutation(len(images))
    build, selected = MODELS[options.model]
    setup_seconds = time.perf_counter() - common.STARTED
    with threadpool_limits(options.threads):
        for line, count in enumerate(options.selected or selected, 1):
            chosen = order[:count]
            model = build(options.threads, options.seed)
            started = time.perf_counter()
            model.fit(images[chosen], labels[chosen])
            trained = time.perf_counter()
            accuracy = float(model.score(test_images, test_labels))
            common.say(
                epoch=line,
                selected=len(chosen),
                train_seconds=trained - started,
                test_seconds=time.perf_counter() - trained,
                setup_seconds=setup_seconds,
                test_accuracy=accuracy,
            )


if __name__ == "__main__":
    main()
