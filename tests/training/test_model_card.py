"""What a model card says of what the model is for."""

from dataclasses import replace

import pytest
from fashioncnn.training.model_card import plain_card

from fashioncnn.artifacts.ood import OODDetector
from fashioncnn.data.dataset import FASHION_MNIST


@pytest.mark.parametrize(
    ("dataset", "views", "said"),
    [
        (FASHION_MNIST, "fashion", "It is not made for photographs"),
        (FASHION_MNIST, "photo", "naming the one garment, or pair of shoes, on a photograph"),
        ("sketches", "fashion", "this is not Fashion-MNIST"),
        ("closet", "plain", "images like those of 'closet'"),
    ],
)
def test_it_says_what_the_model_is_for(tiny_outcome, dataset, views, said):
    model = tiny_outcome.model
    preprocessing = replace(model.preprocessing, views=views)
    assert said in plain_card(replace(model, dataset=dataset, preprocessing=preprocessing))


def test_it_says_when_the_model_is_unsure(tiny_outcome):
    model = tiny_outcome.model
    assert "no class has a probability of 0.250" in plain_card(replace(model, abstain_below=0.25))
    assert "Unsure" not in plain_card(replace(model, abstain_below=0.0))
    fitted = replace(model, abstain_below=0.25, ood_detector=OODDetector(1.0, 0.0))
    assert "shows one of the classes at all is under 0.250" in plain_card(fitted)
