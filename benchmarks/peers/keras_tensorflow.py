"""Keras on TensorFlow: ``compile`` and ``fit`` on arrays in memory.

Follows Keras's example "Simple MNIST convnet"; ``mixed_bfloat16`` follows its guide to mixed
precision, which keeps the softmax in float32. Everything else is Keras's default. ``--onednn``
enables TensorFlow's oneDNN kernels on any processor; by default TensorFlow uses them only on
processors with instructions for neural networks.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

import numpy as np
import protocol
from numpy.typing import NDArray

# TensorFlow reads these variables when it is imported.
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
    """Return FashionCNN, compiled."""
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
        optimizer=keras.optimizers.Adam(protocol.LEARNING_RATE),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


class FitTimer(keras.callbacks.Callback):
    """Times the epochs of `fit`, without its set-up."""

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
    """Reports time and test accuracy of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.timer = protocol.EpochTimer()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.timer.start_training()

    def on_test_begin(self, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras: `fit` evaluates after every epoch."""
        self.timer.start_evaluation()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:  # noqa: ARG002
        """See Keras."""
        self.timer.send_epoch(float((logs or {})["val_accuracy"]))


def trace(model: keras.Model, images: NDArray[np.float32], labels: NDArray[np.uint8]) -> None:
    """Trace a training and an evaluation step, which belongs to the set-up; restore the weights."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(images, labels, batch_size=protocol.BATCH_SIZE, verbose=0)
    model.evaluate(images, labels, batch_size=protocol.BATCH_SIZE, verbose=0)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def main() -> None:
    """Measure."""
    parser = protocol.make_parser(__doc__)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--onednn", action="store_true", help="use oneDNN kernels on any processor")
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.utils.set_random_seed(options.seed)
    keras.mixed_precision.set_global_policy(options.precision)

    data = protocol.read_data()
    images, labels = to_arrays(data.train_images, data.train_labels)
    model = build_model()
    protocol.check_parameters(model.count_params())

    def train_steps(steps: int) -> tuple[int, float]:
        """Train about `steps` steps in one call of fit, equally many in each of its epochs."""
        epochs = math.ceil(steps / (len(images) // protocol.BATCH_SIZE))
        n = steps // epochs * protocol.BATCH_SIZE
        timer = FitTimer()
        model.fit(
            images[:n],
            labels[:n],
            batch_size=protocol.BATCH_SIZE,
            epochs=epochs,
            verbose=0,
            callbacks=[timer],
        )
        return epochs * n, timer.seconds

    if options.mode == "accuracy":
        # A full batch, and one as small as the last one of an epoch.
        few = protocol.BATCH_SIZE + len(images) % protocol.BATCH_SIZE
        trace(model, images[:few], labels[:few])
        model.fit(
            images,
            labels,
            batch_size=protocol.BATCH_SIZE,
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
        protocol.serve_rounds(options, name, precision, packages, train_steps)


if __name__ == "__main__":
    main()
