"""The dense CRF against the same maths written out, and the laws it keeps."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from tag2mask.ops.crf import PARTS, CrfSettings, DenseCrf, _blurred, _kernels_for, _team, dense_crf
from tag2mask.ops.kernels import mean_field
from tag2mask.ops.kernels import walk as walk_kernels
from tag2mask.ops.kernels.lattice import build_lattice, part

sys.path.append(str(Path(__file__).parents[1] / "reference"))

from brute_force_crf import brute_force_crf, gaussian_kernel, lattice_kernel, pixel_features

NARROW = CrfSettings(
    gaussian_sxy=2, gaussian_weight=1, bilateral_sxy=5, bilateral_srgb=30, bilateral_weight=2, iterations=3
)


def example(seed=0, height=12, width=14, labels=3):
    """A noisy rectangle on a plain ground, and probabilities that hardly know it."""
    random = np.random.default_rng(seed)
    image = np.tile(random.integers(60, 120, 3), (height, width, 1))
    image[3:9, 4:11] = random.integers(120, 220, 3)
    image = np.clip(image + random.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    probabilities = random.random((labels, height, width))
    probabilities[0, 3:9, 4:11] += 0.5
    return image, (probabilities / probabilities.sum(axis=0)).astype(np.float32)


def test_a_lone_wrong_pixel_takes_the_label_around_it():
    image = np.zeros((9, 9, 3), np.uint8)
    probabilities = np.full((2, 9, 9), 0.2, np.float32)
    probabilities[1] = 0.8
    probabilities[:, 4, 4] = 0.8, 0.2
    assert (dense_crf(image, probabilities).argmax(axis=0) == 1).all()


def test_labels_stop_at_an_edge():
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 10:] = 255
    probabilities = np.full((2, 10, 20), 0.5, np.float32)
    probabilities[:, :, :3] = np.array([0.9, 0.1]).reshape(2, 1, 1)
    probabilities[:, :, -3:] = np.array([0.1, 0.9]).reshape(2, 1, 1)
    labels = dense_crf(image, probabilities).argmax(axis=0)
    assert (labels[:, :10] == 0).all()
    assert (labels[:, 10:] == 1).all()


@pytest.mark.parametrize("labels", [2, 3, 9])
@pytest.mark.parametrize("settings", [CrfSettings.paper(), NARROW])
def test_equals_mean_field_written_out(labels, settings):
    image, probabilities = example(labels=labels)
    result = dense_crf(image, probabilities, settings=settings)
    # The same lattice in float64, point by point: only float32 rounding is left.
    same_lattice = brute_force_crf(image, probabilities, settings, lattice_kernel)
    np.testing.assert_allclose(result, same_lattice, atol=2e-6)
    # The exact Gaussian: what the lattice gives away.
    exact = brute_force_crf(image, probabilities, settings)
    np.testing.assert_allclose(result, exact, atol=0.04)
    assert (result.argmax(axis=0) == exact.argmax(axis=0)).mean() > 0.98


@pytest.mark.parametrize("deviations", [[3.0, 3.0], [8.0, 8.0, 40.0, 40.0, 40.0]])
def test_lattice_filter_is_nearly_the_gaussian(deviations):
    image, probabilities = example(height=30, width=34, labels=2)
    signal = probabilities[0].reshape(-1)
    with _team(1) as run:
        lattice = build_lattice(run, image, deviations)
        values = np.zeros((PARTS, lattice.count + 1), np.float32)
        np.add.at(values[0], lattice.offsets, lattice.weights * signal[:, None])
        blurred, _ = _blurred(run, lattice, _kernels_for(2), *values)
    filtered = (lattice.weights * blurred[lattice.offsets]).sum(axis=1)
    exact = gaussian_kernel(pixel_features(image, *deviations[:: 2 if len(deviations) == 5 else 3][:2])) @ signal
    # Proportional: the CRF normalises the factor away.
    correlation = np.corrcoef(filtered, exact)[0, 1]
    assert correlation > 0.97
    np.testing.assert_allclose(lattice.weights.sum(axis=1), 1, atol=1e-5)
    assert (lattice.weights > -1e-5).all()


@pytest.mark.parametrize("labels", [1, 2, 4, 5, 6, 9, 10, 81])
def test_sums_to_one_and_leaves_its_arguments_alone(labels):
    image, probabilities = example(labels=labels)
    probabilities[:, 0, 0] = 0
    probabilities[0, 0, 0] = 1
    image_before, probabilities_before = image.copy(), probabilities.copy()
    result = dense_crf(image, probabilities)
    assert result.dtype == np.float32
    assert result.shape == probabilities.shape
    assert result.flags.c_contiguous
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)
    assert (result >= 0).all()
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(probabilities, probabilities_before)


@pytest.mark.parametrize("labels", [2, 3, 9])
def test_same_bits_again_on_two_threads_and_beside_another_image(labels):
    image, probabilities = example(height=40, width=50, labels=labels)
    result = dense_crf(image, probabilities, threads=1)
    np.testing.assert_array_equal(dense_crf(image, probabilities, threads=1), result)
    np.testing.assert_array_equal(dense_crf(image, probabilities, threads=2), result)
    with ThreadPoolExecutor(2) as pool:
        for other in pool.map(lambda _: dense_crf(image, probabilities, threads=2), range(4)):
            np.testing.assert_array_equal(other, result)


def test_one_lattice_serves_several_maps():
    image, probabilities = example()
    crf = DenseCrf(image)
    for labels in (2, 3):
        given = probabilities[:labels]
        np.testing.assert_array_equal(crf.refine(given), dense_crf(image, given))


def test_views_give_the_same_as_copies():
    image, probabilities = example(height=12, width=12)
    turned = dense_crf(image.transpose(1, 0, 2)[::-1], probabilities.transpose(0, 2, 1)[:, ::-1])
    copied = dense_crf(
        image.transpose(1, 0, 2)[::-1].copy(), np.ascontiguousarray(probabilities.transpose(0, 2, 1)[:, ::-1])
    )
    np.testing.assert_array_equal(turned, copied)


def test_mirror_in_mirror_out():
    image, probabilities = example()
    mirrored = dense_crf(image[:, ::-1], probabilities[:, :, ::-1])[:, :, ::-1]
    # The lattice has no mirror symmetry of its own.
    np.testing.assert_allclose(mirrored, dense_crf(image, probabilities), atol=0.02)


def test_equal_labels_stay_equal():
    image, probabilities = example()
    probabilities[2] = probabilities[1]
    result = dense_crf(image, probabilities)
    np.testing.assert_array_equal(result[1], result[2])
    flat = np.full((2, 12, 14), 0.5, np.float32)
    np.testing.assert_array_equal(dense_crf(image, flat), flat)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (3, 70)])
@pytest.mark.parametrize("labels", [2, 3])
def test_thin_images_and_one_colour(height, width, labels):
    probabilities = example(height=height, width=width, labels=labels)[1]
    result = dense_crf(np.full((height, width, 3), 200, np.uint8), probabilities)
    np.testing.assert_allclose(result.sum(axis=0), 1, atol=1e-5)


def test_no_iterations_gives_the_clipped_probabilities():
    image, probabilities = example()
    result = dense_crf(image, probabilities, settings=CrfSettings(iterations=0))
    np.testing.assert_allclose(result, probabilities, atol=1e-5)


def test_many_lattice_points():
    """Noise fills the hash tables, which must grow."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (90, 90, 3)).astype(np.uint8)
    probabilities = np.full((2, 90, 90), 0.3, np.float32)
    probabilities[1] = 0.7
    settings = CrfSettings(bilateral_sxy=4, bilateral_srgb=4)
    crf = DenseCrf(image, settings)
    assert crf._appearance.count > 30_000
    np.testing.assert_allclose(crf.refine(probabilities).sum(axis=0), 1, atol=1e-5)


def test_parts_cover_everything_once():
    for length in (0, 1, 2, 7):
        covered = [i for index in range(PARTS) for i in range(*part(length, index))]
        assert covered == list(range(length))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((12, 14, 3), np.float32)}, "image: expected .*uint8.*, got float32"),
        ({"image": np.zeros((12, 14), np.uint8)}, r"image: expected shape \(H, W, 3\)"),
        ({"image": np.zeros((0, 14, 3), np.uint8)}, "at least one pixel"),
        ({"image": torch.zeros(12, 14, 3, dtype=torch.uint8)}, "image: expected a numpy array, got Tensor"),
        ({"probabilities": np.full((2, 12, 14), 0.5)}, "probabilities: expected .*float32.*, got float64"),
        ({"probabilities": np.full((2, 12, 15), 0.5, np.float32)}, "H = 12, W = 14"),
        ({"probabilities": np.full((2, 12, 14), np.nan, np.float32)}, "NaN"),
        ({"probabilities": np.full((2, 12, 14), 1.5, np.float32)}, r"got \[1.5, 1.5\]"),
        ({"settings": CrfSettings(bilateral_sxy=1e-6, gaussian_sxy=1e-6)}, "deviations are too small"),
    ],
)
def test_errors_say_what_is_wrong(change, message):
    image, probabilities = example()
    arguments = {"image": image, "probabilities": probabilities, "settings": CrfSettings()} | change
    with pytest.raises(ValueError, match=message):
        dense_crf(arguments["image"], arguments["probabilities"], settings=arguments["settings"])


@pytest.mark.parametrize("field", ["gaussian_sxy", "bilateral_srgb", "gaussian_weight", "iterations"])
def test_settings_are_checked(field):
    with pytest.raises(ValueError, match=f"CrfSettings.{field}"):
        CrfSettings(**{field: -1})


@pytest.mark.parametrize("module", [mean_field, walk_kernels])
def test_kernels_hold_numbers_only(module):
    # A kernel that holds another one gets another name on disk in every process, and is compiled anew in each.
    kernels = [each for each in vars(module).values() if hasattr(each, "py_func")]
    held = [cell.cell_contents for each in kernels for cell in each.py_func.__closure__ or ()]
    assert {type(each) for each in held} == {int}
