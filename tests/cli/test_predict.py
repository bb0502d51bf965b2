import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(small):
    Path("pictures").mkdir()
    for i in range(3):
        Image.fromarray(small.test.images[i]).save(f"pictures/{i}.png")
    return "pictures"


def test_json_has_the_promised_form(cli, trained, pictures):
    document = cli.json("predict", pictures, "--model", trained)
    assert list(document) == ["schema", "model", "predictions"]
    assert [p["source"] for p in document["predictions"]] == [f"pictures/{i}.png" for i in range(3)]
    for prediction in document["predictions"]:
        assert list(prediction) == ["source", "top", "abstained", "error"]
        assert len(prediction["top"]) == 3
        assert list(prediction["top"][0]) == ["code", "name", "probability"]
        probabilities = [c["probability"] for c in prediction["top"]]
        assert probabilities == sorted(probabilities, reverse=True)


def test_predictions_are_those_of_the_judged_network(cli, trained, pictures):
    document = cli.json("predict", pictures, "--model", trained, "--top", "10")
    with np.load(Path(trained, "predictions.npz")) as stored:
        expected = stored["test_logits"][:3].argmax(axis=1)
    assert [p["top"][0]["code"] for p in document["predictions"]] == expected.tolist()
    assert sum(c["probability"] for c in document["predictions"][0]["top"]) == pytest.approx(1)


def test_table_names_every_picture(cli, trained, pictures):
    out = cli.ok("predict", pictures, "--model", trained)
    assert all(f"pictures/{i}.png" in out for i in range(3))


def test_broken_files_are_named_and_skipped_and_the_rest_goes_on(cli, trained, pictures):
    Path(pictures, "1.png").write_bytes(b"broken")
    code, out, err = cli("predict", pictures, "gone.jpg", "--model", trained, "--json")
    assert code == 1
    predictions = json.loads(out)["predictions"]
    assert [bool(p["error"]) for p in predictions] == [False, True, False, True]
    assert "skipped: pictures/1.png: not a JPEG" in err
    assert "skipped: gone.jpg: no such file" in err
    assert "2 of 4 pictures could not be read" in err


def test_newest_run_is_the_default(cli, idx_folder, pictures):
    from .conftest import QUICK

    assert "no finished run" in cli.fails(2, "predict", pictures)
    cli.ok("train", *QUICK, "--data", idx_folder)
    _, _, err = cli("predict", pictures)
    assert "model: runs/train-1" in err


def test_wrong_usage(cli, trained, tmp_path):
    assert "at least one picture" in cli.fails(2, "predict")
    assert "--top 0" in cli.fails(2, "predict", "a.png", "--top", "0")
    assert "without a picture" in cli.fails(2, "predict", tmp_path, "--model", trained)
