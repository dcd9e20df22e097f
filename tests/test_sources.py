"""Sources: numbers of channels are one or three, as a person writes them."""

from __future__ import annotations

import pytest

from tag2mask.sources import Source, read_channels


def test_channels_are_numbers_with_commas_or_spaces() -> None:
    assert [read_channels(text) for text in ("", "3,2,1", " 2 ", "1 2, 4")] == [(), (3, 2, 1), (2,), (1, 2, 4)]
    for text in ("red", "1,-2,3", "1.5"):
        with pytest.raises(ValueError, match=r"channels: expected one or three numbers from 1 on, got '.*3,2,1\."):
            read_channels(text)


@pytest.mark.parametrize("channels", [(1, 2), (0, 1, 2), (1, 2, 3, 4)])
def test_one_or_three_channels_from_1_on(channels: tuple[int, ...]) -> None:
    assert Source("folder", "a", channels=(4,)).channels == (4,)
    with pytest.raises(ValueError, match="channels: expected one or three numbers"):
        Source("folder", "a", channels=channels)
