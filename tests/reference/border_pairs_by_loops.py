"""The authors' pair list (Ahn & Kwak, public code), written out: it begins only at pixels well inside the map.

Their first pixel leaves out the last gamma - 1 rows and the first and last gamma - 1 columns; the second pixel of each
pair lies right of it or below, closer than gamma.
"""


def inner_pairs(height, width, radius):
    """[((y, x), (v, u)), ...] of a map, first pixel and second."""
    reach = radius - 1
    pairs = []
    for y in range(height - reach):
        for x in range(reach, width - reach):
            for right in range(1, radius):
                pairs.append(((y, x), (y, x + right)))
            for down in range(1, radius):
                for right in range(-reach, radius):
                    if right * right + down * down < radius * radius:
                        pairs.append(((y, x), (y + down, x + right)))
    return pairs
