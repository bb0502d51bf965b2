"""A peer: Keras on TensorFlow, ``compile`` and ``fit`` on arrays in memory.

After Keras' own example "Simple MNIST convnet"; ``mixed_bfloat16`` after its guide to mixed
precision, which keeps the softmax in float32. Everything else is left as Keras has it.
``--onednn`` turns TensorFlow's oneDNN kernels on where TensorFlow itself would not: it does so only
on processors with instructions made for neural networks.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray

# Both are read while TensorFlow is imported.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "--onednn" in sys.argv:
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import keras
import tensorflow as tf
from keras import layers

Logs = dict[str, Any] | None


def to_arrays(
    images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return (n, 28, 28, 1) float32 images in [0, 1], and labels."""
    return images[..., np.newaxis].astype("float32") / 255, labels


def build_model() -> keras.Model:
    """Return the described network, compiled."""
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
            layers.Activation("softmax", dtype="float32"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(common.LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class Stopwatch(keras.callbacks.Callback):
    """Times epochs of learning, without what `fit` does before and after them."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = self.started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.seconds += time.perf_counter() - self.started


class Reporter(keras.callbacks.Callback):
    """Tells time and test accuracy of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = common.EpochClock()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.clock.begin()

    def on_test_begin(self, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras: what `fit` judges after an epoch."""
        self.clock.trained()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.clock.judged(float((logs or {})["val_accuracy"]))


def trace(model: keras.Model, images: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    """Have TensorFlow trace a step, as a part of setting up, and put the weights back."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(images, labels, batch_size=common.BATCH_SIZE, verbose=0)
    model.evaluate(images, labels, batch_size=common.BATCH_SIZE, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def main() -> None:
    """Measure."""
    parser = common.make_parser(__doc__)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--onednn", action="store_true", help="oneDNN kernels on any processor")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.utils.set_random_seed(options.seed)
    keras.mixed_precision.set_global_policy(options.precision)

    data = common.read_data()
    images, labels = to_arrays(data.train_images, data.train_labels)
    model = build_model()
    common.check_parameters(model.count_params())

    def train_steps(steps: int) -> tuple[int, float]:
        """Train in a single fit for about so many steps, the same number in each of its epochs."""
        epochs = math.ceil(steps / (len(images) // common.BATCH_SIZE))
        n = steps // epochs * common.BATCH_SIZE
        watch = Stopwatch()
        model.fit(
            images[:n],
            labels[:n],
            batch_size=common.BATCH_SIZE,
            epochs=epochs,
            verbose=0,
            callbacks=[watch],
        )
        return epochs * n, watch.seconds

    if options.mode == "accuracy":
        # A full batch and one as small as an epoch's last.
        few = common.BATCH_SIZE + len(images) % common.BATCH_SIZE
        trace(model, images[:few], labels[:few])
        model.fit(
            images,
            labels,
            batch_size=common.BATCH_SIZE,
            epochs=options.epochs,
            validation_data=to_arrays(data.test_images, data.test_labels),
            verbose=0,
            callbacks=[Reporter()],
        )
    else:
        precision = "bf16" if options.precision == "mixed_bfloat16" else "fp32"
        packages = ("keras", "tensorflow_cpu", "numpy")
        name = f"Keras on TensorFlow, {options.precision}"
        name += ", oneDNN" if options.onednn else ""
        common.serve_rounds(options, name, precision, packages, train_steps)


if __name__ == "__main__":
    main()
