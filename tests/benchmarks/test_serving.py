"""The table of the guide is that of the recorded results."""

import json
import re

import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

import serving_table
from common import RESULTS, ROOT

MARKED = re.compile(r"<!-- serving\.py -->\n(.*?)\n<!-- end -->", re.DOTALL)


def test_table_of_the_guide():
    results = json.loads((RESULTS / "serving.json").read_text())
    (table,) = MARKED.findall((ROOT / "docs" / "guide" / "deploy.md").read_text())
    assert table.strip() == serving_table.serving_tables(results)
