"""How well a mask splits colours, pixel by pixel."""

import math


def separability_by_counting(mask, bins):
    """Matthews correlation of a mask with the guess that its colours' shares make; both (H, W)."""
    pairs = list(zip(mask.flatten().tolist(), bins.flatten().tolist(), strict=True))
    share = sum(inside for inside, _ in pairs) / len(pairs)
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for inside, colour in pairs:
        alike = [other for other, its_colour in pairs if its_colour == colour]
        guess = sum(alike) / len(alike) > share + 1e-12
        counts[inside, guess] += 1
    hit, miss, false, rest = (counts[key] for key in ((True, True), (True, False), (False, True), (False, False)))
    norm = math.sqrt((hit + false) * (hit + miss) * (rest + false) * (rest + miss))
    return (hit * rest - false * miss) / norm if norm else 0.0
