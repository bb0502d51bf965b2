import argparse
import json

import pytest


def test_a_result_of_another_slice_or_length_is_refused(tmp_path):
    import slices

    settings = {"data": {"validation": 2000}, "training": {"epochs": 3}}
    result = tmp_path / "medium.json"
    result.write_text(json.dumps({"images": 10_000, "settings": settings}))
    asked = {"images": 10_000, "validation": 2000, "epochs": 3}
    slices.refuse_others(result, argparse.Namespace(**asked))
    for name in asked:
        with pytest.raises(SystemExit, match=r"of 10,000 images, 2,000 held out, 3 epochs"):
            slices.refuse_others(result, argparse.Namespace(**{**asked, name: 1}))
