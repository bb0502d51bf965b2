import sys

import pytest

from fashioncnn.cli.console import note, print_tables, print_text
from fashioncnn.reporting.tables import Table

SENTENCE = "the test split was not evaluated; for the final result: fashioncnn evaluate runs/x"
TABLE = Table(f"Title: {SENTENCE}", ("A", "B"), (("a", "1"),), note=f"Note: {SENTENCE}")


@pytest.fixture
def use_terminal(monkeypatch):
    """Return a function that makes stdout and stderr terminals of 40 columns."""

    def use():
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    return use


def assert_wrapped_between_words(text, expected):
    lines = text.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= 40
    assert text.split() == expected.split()


def test_notes_wrap_between_words_on_a_terminal(capsys, use_terminal):
    use_terminal()
    note(SENTENCE)
    assert_wrapped_between_words(capsys.readouterr().err, SENTENCE)


def test_a_word_longer_than_a_line_is_not_broken(capsys, use_terminal):
    use_terminal()
    note(f"report: {'x' * 60}/report.html")
    assert f"{'x' * 60}/report.html" in capsys.readouterr().err.splitlines()


def test_titles_and_notes_of_tables_wrap_at_the_terminal_and_not_at_the_table(capsys, use_terminal):
    use_terminal()
    print_tables([TABLE])
    out = capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    title, _, rest = out.partition(" A ")
    assert_wrapped_between_words(title, TABLE.title)
    assert_wrapped_between_words(rest[rest.index("Note") :], TABLE.note)


def test_nothing_is_wrapped_off_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    note(SENTENCE)
    print_text(SENTENCE)
    print_tables([TABLE])
    out, err = capsys.readouterr()
    assert err == f"{SENTENCE}\n"
    assert {SENTENCE, TABLE.title, TABLE.note} <= set(out.splitlines())


@pytest.mark.parametrize("on_terminal", [True, False])
def test_control_characters_are_escaped(capsys, use_terminal, on_terminal):
    if on_terminal:
        use_terminal()
    note("a\x1b[31m\nb [bold]c[/bold]")
    assert capsys.readouterr().err == "a\\x1b[31m\\nb [bold]c[/bold]\n"
