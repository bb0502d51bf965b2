"""Predictions over HTTP are those of the command line."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from fashioncnn.cli import main

from .conftest import check_headers, check_problem, encode, shirt

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"]


def images_of(predicted):
    return [decode(view["image"]) for view in predicted["views"]]


def decode(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def files(*contents):
    return [("images", (f"{i}.png", content)) for i, content in enumerate(contents)]


@pytest.mark.parametrize("image_format", FORMATS)
def test_answer_is_that_of_the_command_line(client, tmp_path, capsys, image_format):
    path = tmp_path / f"shirt.{image_format.lower()}"
    path.write_bytes(encode(shirt(300, "RGB"), image_format))
    assert main(["predict", str(path), "--model", "photo", "--format", "json", "--top", "10"]) == 0
    expected = json.loads(capsys.readouterr().out)

    response = client.post("/v1/predict?top=10", files={"images": (path.name, path.read_bytes())})

    assert response.status_code == 200
    check_headers(response)
    answer = response.json()
    assert {**answer, "predictions": None} == {**expected, "predictions": None}
    (record,), (expected_record,) = answer["predictions"], expected["predictions"]
    assert record.keys() == expected_record.keys()
    assert record["source"] == path.name
    assert record["confidence"] == pytest.approx(expected_record["confidence"], abs=1e-5)
    assert record["abstained"] == expected_record["abstained"]
    assert [c["name"] for c in record["top"]] == [c["name"] for c in expected_record["top"]]
    for one, other in zip(record["top"], expected_record["top"], strict=True):
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_message_about_an_image_is_that_of_the_command_line(client, tmp_path, capsys):
    path = tmp_path / "notes.png"
    path.write_text("no image")
    assert main(["predict", str(path), "--format", "json"]) == 1
    expected = json.loads(capsys.readouterr().out)["predictions"][0]["error"]
    response = client.post("/v1/predict", files={"images": (str(path), path.read_bytes())})
    assert check_problem(response, 422) == expected


def test_one_image_as_body(client, png):
    of_form = client.post("/v1/predict", files=files(png)).json()["predictions"][0]
    for content_type in ("image/png", "application/octet-stream", "image/anything", None):
        headers = {"content-type": content_type} if content_type else {}
        response = client.post("/v1/predict", content=png, headers=headers)
        (record,) = response.json()["predictions"]
        assert record.pop("source") == "body"
        assert record == {k: v for k, v in of_form.items() if k != "source"}


def test_several_images_are_answered_in_order(client, png, jpeg):
    contents = [png, jpeg, encode(shirt(200, "RGBA")), png]
    records = client.post("/v1/predict", files=files(*contents)).json()["predictions"]
    assert [record["source"] for record in records] == ["0.png", "1.png", "2.png", "3.png"]
    assert records[0]["top"][0]["name"] == records[3]["top"][0]["name"]
    for position, content in enumerate(contents):
        (alone,) = client.post("/v1/predict", content=content).json()["predictions"]
        probability = alone["top"][0]["probability"]
        assert records[position]["top"][0]["probability"] == pytest.approx(probability, abs=1e-5)


def test_of_several_images_each_has_its_own_error(client, png):
    response = client.post("/v1/predict", files=files(png, b"no image", png[:60]))
    assert response.status_code == 200
    good, other, cut = response.json()["predictions"]
    assert good["error"] is None
    assert good["top"]
    for record in (other, cut):
        assert record["error"].startswith(record["source"])
        assert record["top"] == []
        assert record["confidence"] is None


@pytest.mark.parametrize("top", [1, 4, 10, 256])
def test_top(client, png, top):
    (record,) = client.post(f"/v1/predict?top={top}", content=png).json()["predictions"]
    assert len(record["top"]) == min(top, 10)
    probabilities = [c["probability"] for c in record["top"]]
    assert probabilities == sorted(probabilities, reverse=True)


def test_views_are_the_model_input(client, predictor, jpeg):
    from fashioncnn.inference.inputs import load_views
    from fashioncnn.inference.sources import ImageSource

    expected = load_views(ImageSource("body", jpeg), predictor.spec.preprocessing).views
    (record,) = client.post("/v1/predict?views=true", content=jpeg).json()["predictions"]
    assert np.array_equal([np.asarray(image) for image in images_of(record)], expected)
    names = [view["name"] for view in record["views"]]
    assert names[-3:] == ["stretch", "crop", "pad"]
    assert set(names[:-3]) == {"cutout"}
    assert all(view["heat_map"] is None for view in record["views"])


def test_explain_draws_a_heat_map_per_view(client, predictor, jpeg):
    (record,) = client.post("/v1/predict?explain=true", content=jpeg).json()["predictions"]
    assert record["views"]
    for view in record["views"]:
        heat_map = decode(view["heat_map"])
        assert heat_map.size == (224, 224)
        assert heat_map.mode == "RGB"
        assert view["image"] is None


def test_views_and_explain_of_an_unreadable_image(client, png):
    query = "/v1/predict?views=true&explain=true"
    good, bad = client.post(query, files=files(png, b"")).json()["predictions"]
    assert good["views"][0]["image"]
    assert good["views"][0]["heat_map"]
    assert bad["error"]
    assert "views" not in bad


def test_long_file_name_is_cut(client, png):
    response = client.post("/v1/predict", files={"images": (f"{'x' * 1000}.png", png)})
    assert len(response.json()["predictions"][0]["source"]) == 200


def test_model(client, predictor):
    response = client.get("/v1/model")
    check_headers(response)
    model = response.json()
    assert model["name"] == "photo"
    assert model["labels"] == list(predictor.spec.labels)
    assert model["abstain_below"] == predictor.spec.abstain_below
    assert model["confidence"] == predictor.spec.confidence
    assert model["limits"]["max_pixels"] == 16_000_000


def test_health(client):
    assert client.get("/livez").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    response = client.head("/livez")
    assert response.status_code == 200
    assert response.content == b""
    check_headers(response)
