import pytest

from fashioncnn.artifacts.model_folder import ModelDescription
from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.settings import FashionCNNConfig


@pytest.fixture
def description() -> ModelDescription:
    """Return the description of a small model of three classes."""
    return ModelDescription(
        architecture=FashionCNNConfig(channels=(4, 8), hidden=16),
        labels=("a", "b", "c"),
        preprocessing=Preprocessing(28, 0.25, 0.5, "plain"),
        dataset="closet",
        parameters=1234567,
        multiply_adds=7654321,
        weights_sha256="0" * 64,
    )
