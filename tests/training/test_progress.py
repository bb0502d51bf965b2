"""Live progress of a training, on terminals and in notebooks."""

import sys
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell

from fashioncnn import Classifier
from fashioncnn.training import progress
from fashioncnn.training.progress import LiveBar, NotebookBar, live_progress


@pytest.fixture
def notebook(monkeypatch):
    """Run in a kernel whose display is recorded; return the list of (page, is_update)."""
    pages = []

    class Handle:
        def update(self, page):
            pages.append((page.data, True))

    def display(page, display_id):
        pages.append((page.data, False))
        return Handle()

    module = sys.modules["IPython"]
    monkeypatch.setattr(module, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr("IPython.display.display", display)
    return pages


def test_a_notebook_shows_a_bar_and_the_epochs(notebook, quick, small):
    Classifier.train(data=small, **{**quick, "epochs": 2})
    pages = [page for page, _ in notebook]
    assert [is_update for _, is_update in notebook][:2] == [False, True]
    assert '<progress value="0" max="600">' in pages[0]
    assert '<progress value="600" max="600">' in pages[-1]
    for text in ("epoch 1/2  train ", "epoch 2/2  train ", " img/s"):
        assert text in pages[-1]


def test_nothing_is_shown_where_it_is_switched_off(notebook, quick, small, capfd):
    Classifier.train(data=small, progress=False, **quick)
    assert notebook == []
    assert capfd.readouterr() == ("", "")


def test_nothing_is_shown_where_output_is_redirected(quick, small, capfd):
    Classifier.train(data=small, **quick)
    assert capfd.readouterr() == ("", "")


def test_the_kind_of_bar_depends_on_where_it_is_shown(monkeypatch, notebook):
    assert [type(bar) for bar in live_progress()] == [NotebookBar]
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: InteractiveShell)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert [type(bar) for bar in live_progress()] == [LiveBar]
    worker = SimpleNamespace(name="LokyProcess-1")
    monkeypatch.setattr(progress.multiprocessing, "current_process", lambda: worker)
    assert live_progress() == []
