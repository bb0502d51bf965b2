"""The comparison of ONNX files of int8 with those of fp32."""

import numpy as np

import int8
from fashioncnn.artifacts.model_folder import bundled_models, find_onnx


def test_speeds_are_measured_in_turns_after_a_warm_up():
    path = find_onnx(bundled_models()["accurate"])
    images = np.zeros((3, 28, 28), np.uint8)
    measured = int8.measure_speed({"fp32": path, "int8": path}, images, rounds=2)
    rates = measured["images_per_second"]
    assert [len(rates["fp32"]), len(rates["int8"])] == [2, 2]
    assert measured["ratios"] == [b / a for a, b in zip(rates["fp32"], rates["int8"], strict=True)]


def test_table_has_size_accuracy_and_ratio_of_each_file():
    model = {
        "bytes": {"fp32": 900_000, "int8": 890_000},
        "images_per_second": {"fp32": [100.0, 110.0, 90.0], "int8": [150.0, 154.0, 180.0]},
        "ratios": [1.5, 1.4, 2.0],
        "fp32": {"accuracy": 0.9556},
        "int8": {"accuracy": 0.955},
    }
    table = int8.to_markdown({"accurate": model})
    assert "| `accurate`, fp32 | 0.90 MB | 95.56% | 100 |  |" in table
    assert "| `accurate`, int8 | 0.89 MB | 95.50% | 154 | 1.50 [1.40 – 2.00] |" in table
