"""Numbered names behave as the sorted tuple of them would, and take no memory."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.types import ClientNames


@given(st.integers(1, 2000), st.data())
def test_they_are_the_tuple_they_stand_for(number, data):
    names, listed = ClientNames(number), tuple(ClientNames(number))
    assert len(names) == len(listed) == number
    assert list(listed) == sorted(set(listed))
    place = data.draw(st.integers(-number, number - 1))
    assert names[place] == listed[place]
    assert names.index(listed[place]) == place % number
    start, stop, step = (data.draw(st.integers(-number, number).filter(bool) | st.none()) for _ in range(3))
    assert names[start:stop:step] == listed[start:stop:step]
    for beyond in (number, -number - 1):
        with pytest.raises(IndexError):
            names[beyond]


@pytest.mark.parametrize(
    "name",
    ["client-0010", "client-007", "client-00007", "client--001", "client-0x01", "7", "", "client-٠٠٠١", None],
)
def test_other_names_are_not_among_them(name):
    names = ClientNames(10)
    assert name not in names
    with pytest.raises(ValueError, match="there is no client"):
        names.index(name)


def test_up_to_ten_thousand_are_named_as_they_always_were():
    assert ClientNames(3)[:] == ("client-0000", "client-0001", "client-0002")
    assert ClientNames(10_000)[-1] == "client-9999"
    assert ClientNames(10_001)[7] == "client-00007"
    assert sys.getsizeof(ClientNames(10**9)) < 1000
