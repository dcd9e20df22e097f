"""Errors say what was expected and what was found."""

import numpy as np
import pytest
import torch

from tag2mask.checks import check_choice, check_dtype, check_range, check_shape


def test_a_pattern_names_the_sizes():
    assert check_shape("x", torch.zeros(3, 4, 5), "3 H W") == {"H": 4, "W": 5}
    assert check_shape("x", np.zeros((2, 7)), "B C") == {"B": 2, "C": 7}
    assert check_shape("x", torch.zeros(()), "") == {}


def test_leading_dimensions_may_stay_open():
    assert check_shape("x", torch.zeros(9, 8, 3, 4), "... 3 W") == {"W": 4}
    assert check_shape("x", torch.zeros(3, 4), "... 3 W") == {"W": 4}


@pytest.mark.parametrize(
    ("shape", "pattern", "sizes"),
    [
        ((3, 4), "3 H W", {}),  # Too few dimensions.
        ((1, 3, 4, 5), "3 H W", {}),  # Too many.
        ((4, 4, 5), "3 H W", {}),  # Another number.
        ((4, 5), "N N", {}),  # Equal names, unequal sizes.
        ((4, 5), "B C", {"C": 6}),  # Known beforehand.
        ((4,), "... 3 W", {}),
    ],
)
def test_another_shape_is_told_with_the_expected_one(shape, pattern, sizes):
    with pytest.raises(ValueError, match="maps: expected shape") as error:
        check_shape("maps", torch.zeros(shape), pattern, **sizes)
    assert str(tuple(shape)) in str(error.value)
    assert pattern.replace(" ", ", ") in str(error.value)
    assert all(f"{name} = {size}" in str(error.value) for name, size in sizes.items())


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.5], []])
def test_values_in_range_pass(values):
    check_range("x", torch.tensor(values), 0, 1)
    check_range("x", np.array(values), 0, 1)


@pytest.mark.parametrize(("values", "found"), [([-0.1, 0.5], "-0.1"), ([0.5, 1.5], "1.5")])
def test_values_out_of_range_are_told(values, found):
    with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]") as error:
        check_range("x", torch.tensor(values), 0, 1)
    assert found in str(error.value)


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_a_value_that_is_no_number_is_out_of_any_range(make):
    with pytest.raises(ValueError, match="NaN: look for"):
        check_range("x", make([0.5, float("nan")]), -1e9, 1e9)


def test_dtypes_are_checked():
    check_dtype("x", torch.zeros(1, dtype=torch.uint8), torch.uint8, torch.int64)
    with pytest.raises(ValueError, match=r"x: expected torch\.uint8 or torch\.int64, got torch\.float32"):
        check_dtype("x", torch.zeros(1), torch.uint8, torch.int64)


def test_choices_are_checked():
    check_choice("x", 2, [1, 2])
    with pytest.raises(ValueError, match="x: expected one of 1, 2, got 3"):
        check_choice("x", 3, iter([1, 2]))
