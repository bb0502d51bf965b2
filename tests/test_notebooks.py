"""The notebooks run from top to bottom, and are committed without outputs."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMAGE, PAGE = "image/png", "text/html"
SHOWN = {
    "show(train.images": IMAGE,
    'Classifier.train("honest", data=data, epochs=2)': PAGE,
    "plot_history(": IMAGE,
    "plot_confusion_matrix(": IMAGE,
    "plot_mistakes(": IMAGE,
    "explain(": IMAGE,
    "show(copies": IMAGE,
    "network=MyNetwork": PAGE,
    "compare(classifier": PAGE,
}
"""What the cell with this code shows."""


def notebook_id(path):
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=notebook_id)
def test_notebook_is_committed_without_outputs(path):
    cells = json.loads(path.read_bytes())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=notebook_id)
def test_notebook_runs_on_sketches(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="runs notebooks")
    nbformat = pytest.importorskip("nbformat", reason="reads notebooks")
    pytest.importorskip("ipykernel", reason="computes the cells")
    monkeypatch.setenv("FASHIONCNN_DATA", "sketches")
    monkeypatch.setenv("FASHIONCNN_KERNELS", "torch")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    )
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()  # raises for a cell that fails
    outputs = {cell.source: shown_by(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for code, kind in SHOWN.items():
        cells = [kinds for source, kinds in outputs.items() if code in source]
        assert cells, f"no cell has {code}"
        assert all(kind in kinds for kinds in cells), f"{code} shows no {kind}"


def shown_by(cell):
    """Return the types of all outputs of a cell."""
    return {kind for output in cell.outputs for kind in output.get("data", {})}
