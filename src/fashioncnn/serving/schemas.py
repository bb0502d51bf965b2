"""The documents of the API. Predictions have the keys of ``fashioncnn predict --format json``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

PNG_URI = "A PNG image as a data URI."


class ClassProbability(BaseModel):
    """One class of a prediction."""

    code: int = Field(ge=0, description="Label of the class, from 0.")
    name: str = Field(description="Name of the class.")
    probability: float = Field(ge=0, le=1)


class View(BaseModel):
    """One view of an image: what the network gets as input."""

    name: str = Field(description="How the view was computed, such as cutout or crop.")
    image: str | None = Field(None, description=f"The model input, with views=true. {PNG_URI}")
    heat_map: str | None = Field(
        None,
        description="Class activation map of the most probable class over the enlarged view, with "
        f"explain=true. {PNG_URI}",
    )


class ImagePrediction(BaseModel):
    """The prediction for one image, or why it could not be read."""

    source: str = Field(description="File name as sent, or body.")
    top: list[ClassProbability] = Field(
        description="The most probable classes, in descending order; empty after an error."
    )
    confidence: float | None = Field(
        ge=0,
        le=1,
        description="What /v1/model says in words, in confidence; null after an error.",
    )
    abstained: bool = Field(
        description="Whether the confidence is below abstain_below of the model: the image "
        "may show none of the classes, or one that is unclear."
    )
    several_garments: bool = Field(
        description="Whether separate garments were found in a photograph: the largest was "
        "classified."
    )
    error: str | None = Field(description="Why the image could not be read, else null.")
    views: list[View] | None = Field(None, description="With views=true or explain=true.")


class PredictionList(BaseModel):
    """The answer of ``POST /v1/predict``: one prediction per image, in their order."""

    schema_: int = Field(alias="schema", description="Version of this document.")
    model: str = Field(description="Name of the model.")
    predictions: list[ImagePrediction]


class Limits(BaseModel):
    """What the server accepts in one request."""

    max_images: int = Field(description="Images in one request.")
    max_body_bytes: int = Field(description="Bytes of one request body.")
    max_pixels: int = Field(
        description="Width × height of one image; 16 times as many for JPEG, which is decoded at a "
        "reduced size, and 4 times as many for HEIC."
    )


class ModelInfo(BaseModel):
    """The answer of ``GET /v1/model``."""

    schema_: int = Field(alias="schema", description="Version of this document.")
    name: str
    version: str = Field(description="Version of fashioncnn.")
    architecture: str = Field(description="Name of the network architecture.")
    dataset: str = Field(description="Data that the model was trained on.")
    labels: list[str] = Field(description="Names of the classes, by label.")
    image_size: int = Field(description="Side of the model input in pixels.")
    channels: Literal[1, 3] = Field(description="1 for grayscale, 3 for color.")
    views: str = Field(description="How an image becomes model input.")
    tta: str = Field(description="Test-time augmentation: none or flip.")
    temperature: float = Field(description="Logits are divided by it before the softmax.")
    abstain_below: float = Field(description="Confidence below which the model abstains.")
    confidence: str = Field(description="What the confidence of a prediction is, in words.")
    has_ood_detector: bool = Field(
        description="Whether the confidence is lower for images outside of the classes, and not "
        "just the highest class probability."
    )

    can_explain: bool = Field(description="Whether heat maps are available (explain=true).")
    formats: str = Field(description="Supported image formats.")
    limits: Limits


class Status(BaseModel):
    """The answer of a health check."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """Why a request failed: problem details (RFC 9457), as ``application/problem+json``."""

    type: Literal["about:blank"] = "about:blank"
    title: str = Field(description="The reason phrase of the status code.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What is the matter and what to do, in one sentence.")
    request_id: str = Field(description="As in the header X-Request-ID and in the log.")
