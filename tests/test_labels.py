"""Class ids, labels and channels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.labels import BACKGROUND, IGNORE, channels_from_labels, labels_from_channels, labels_from_class_ids


@pytest.mark.parametrize("classes", [1, 2, 254, 255, 300, 1000])
def test_labels_and_channels_of_every_class(classes):
    class_ids = torch.arange(classes)
    labels = labels_from_class_ids(class_ids)
    assert len(labels.unique()) == classes
    assert BACKGROUND not in labels
    assert IGNORE not in labels
    assert channels_from_labels(labels).equal(class_ids + 1)
    assert labels_from_channels(class_ids + 1).equal(labels)


@given(st.integers(0, 5000))
def test_channels_and_labels_are_each_other_s_inverse(channel):
    labels = labels_from_channels(torch.tensor(channel))
    assert int(labels) != IGNORE
    assert int(channels_from_labels(labels)) == channel


def test_labels_by_eye():
    assert labels_from_class_ids(torch.tensor([[0, 253], [254, 999]])).tolist() == [[1, 254], [256, 1001]]
    assert channels_from_labels(torch.tensor([0, 1, IGNORE, 256]), ignored=-100).tolist() == [0, 1, -100, 255]
