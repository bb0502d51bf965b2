import pytest

pytest.importorskip("optuna", reason="needs the extra [tune]")

from fashioncnn.tuning.ranges import Choices, Range


def test_choices_of_lists_are_stored_as_json():
    choices = Choices(([4, 8], [8, 16]))
    encoded = [choices.encode(choice) for choice in choices.choices]
    assert encoded == ["[4, 8]", "[8, 16]"]
    assert [choices.decode(value) for value in encoded] == [[4, 8], [8, 16]]


def test_choices_contain_tuples_and_lists():
    choices = Choices(([4, 8], [8, 16]))
    assert choices.contains((4, 8))
    assert not choices.contains((4, 9))


def test_range_of_integers_is_searched_in_integers():
    assert type(Range(1, 8, log=True).distribution()).__name__ == "IntDistribution"
    assert type(Range(0, 0.5).distribution()).__name__ == "FloatDistribution"
    assert not Range(1, 8).contains(2.0)
    assert not Range(0, 8).contains(True)


def test_range_with_step_contains_multiples_in_decimal():
    assert Range(0.0, 1.0, step=0.1).contains(0.3)
    assert not Range(0.0, 1.0, step=0.1).contains(0.25)
    assert not Range(0.0, 1.0, step=0.1).contains(1.1)


@pytest.mark.parametrize("parameter", [Range(1, 9, step=2), Range(0.1, 0.2), Choices((3, [4]))])
def test_extreme_values_are_in_the_distribution(parameter):
    distribution = parameter.distribution()
    for value in parameter.extremes:
        assert parameter.contains(value)
        internal = distribution.to_internal_repr(parameter.encode(value))
        assert parameter.decode(distribution.to_external_repr(internal)) == value
