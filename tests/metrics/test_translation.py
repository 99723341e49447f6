"""Translation metrics against closed forms, definitions in NumPy, and hand-made cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torchvision

from cycada.errors import DataError
from cycada.metrics.bootstrap import Interval
from cycada.metrics.features import load_features
from cycada.metrics.translation import (
    BINS,
    Measured,
    TranslationScores,
    absolute_error,
    cohen_kappa,
    frechet_distance,
    histogram,
    kernel_distance,
    label_flip_rate,
    luminance_correlation,
    quantiles,
    root_mean_square_error,
    structural_similarity,
    wasserstein,
)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_errors_are_means_of_each_image():
    first, second = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    second[1, 0, 0, 0] = 1.0
    assert absolute_error(first, second).tolist() == pytest.approx([0, 0.25])
    assert root_mean_square_error(first, second).tolist() == pytest.approx([0, 0.5])


def test_structural_similarity_is_the_formula_of_wang_et_al():
    x, y = images(1, 1, 24, 24), images(1, 1, 24, 24, seed=1)
    y = 0.6 * x + 0.4 * y
    a, b = ((image[0, 0].double().numpy() + 1) / 2 for image in (x, y))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for row in range(14):
        for column in range(14):
            p = a[row : row + 11, column : column + 11]
            q = b[row : row + 11, column : column + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
            cov = (window * p * q).sum() - mp * mq
            c1, c2 = 0.01**2, 0.03**2
            top = (2 * mp * mq + c1) * (2 * cov + c2)
            values.append(top / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert structural_similarity(x, y).item() == pytest.approx(np.mean(values), abs=1e-4)
    assert structural_similarity(x, x).item() == pytest.approx(1, abs=1e-5)


def test_an_inverted_grey_image_is_found_out():
    rgb = images(3, 3, 16, 16)
    grey = (rgb * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert luminance_correlation(rgb, -0.3 * grey + 0.2).tolist() == pytest.approx([-1] * 3)
    assert luminance_correlation(rgb, grey.expand(-1, 3, -1, -1)).tolist() == pytest.approx([1] * 3)
    unrelated = luminance_correlation(rgb, images(3, 1, 16, 16, seed=9))
    assert unrelated.abs().max() < 0.25
    assert luminance_correlation(rgb, torch.zeros(3, 1, 16, 16)).tolist() == [0, 0, 0]


def test_the_flip_rate_counts_decisions_turned_around():
    before = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool)
    after = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=bool)
    assert label_flip_rate(before, after) == pytest.approx([0.5, 0.25])
    known = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], dtype=bool)
    rates = label_flip_rate(before, after, known)
    assert rates[0] == 0.5
    assert math.isnan(rates[1])


def test_kappa_is_one_for_agreement_zero_for_chance_and_undefined_without_variation():
    draw = np.random.default_rng(0)
    one, two = draw.random((20_000, 1)) < 0.3, draw.random((20_000, 1)) < 0.3
    assert cohen_kappa(one, two) == pytest.approx([0], abs=0.03)
    assert cohen_kappa(one, one) == pytest.approx([1])
    assert np.isnan(cohen_kappa(np.zeros((5, 1)), np.zeros((5, 1)))).all()
    # Cohen's own scheme: 20 and 15 agreements, 5 and 10 disagreements of 50.
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])[:, None]
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])[:, None]
    assert cohen_kappa(first, second) == pytest.approx([0.4])


def test_histograms_of_batches_add_up_to_the_quantiles_of_all():
    values = images(6, 1, 32, 32) ** 3
    counts = histogram(values[:2]) + histogram(values[2:])
    expected = np.quantile(values.numpy(), [0.05, 0.5, 0.95])
    assert quantiles(counts, (0.05, 0.5, 0.95)) == pytest.approx(expected, abs=3 / BINS)


def test_the_wasserstein_distance_of_a_shift_is_the_shift():
    values = images(4, 1, 32, 32) * 0.4
    moved = wasserstein(histogram(values), histogram(values + 0.3))
    assert moved == pytest.approx(0.3, abs=4 / BINS)
    assert wasserstein(histogram(values), histogram(values)) == 0


def test_the_frechet_distance_of_gaussians_is_the_closed_form():
    draw = np.random.default_rng(0)
    first = draw.normal(size=(200_000, 3)) * [1, 2, 3]
    second = draw.normal(size=(200_000, 3)) * [2, 2, 1] + [1, 0, -1]
    expected = 2 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected, rel=0.02)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_equals_its_textbook_formula_with_a_matrix_root():
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(50, 5)) @ draw.normal(size=(5, 5)), draw.normal(size=(60, 5)) + 0.5
    c1, c2 = np.cov(x.T), np.cov(y.T)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    shift = x.mean(0) - y.mean(0)
    expected = shift @ shift + np.trace(c1) + np.trace(c2) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_the_frechet_distance_bears_fewer_images_than_features():
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(6, 10)), draw.normal(size=(8, 10))
    a, b = (z - z.mean(0) for z in (x, y))
    overlap = np.linalg.svd(a @ b.T / np.sqrt(5 * 7), compute_uv=False).sum()
    shift = x.mean(0) - y.mean(0)
    expected = shift @ shift + (a**2).sum() / 5 + (b**2).sum() / 7 - 2 * overlap
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_the_kernel_distance_is_the_unbiased_estimator_of_binkowski_et_al():
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(7, 4)), draw.normal(size=(5, 4)) + 1

    def k(a, b):
        return (a @ b / 4 + 1) ** 3

    xx = np.mean([k(x[i], x[j]) for i in range(7) for j in range(7) if i != j])
    yy = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(xx + yy - 2 * xy)


def test_the_kernel_distance_is_unbiased_where_the_frechet_distance_is_not():
    draw = np.random.default_rng(3)
    kernel, frechet = [], []
    for _ in range(300):
        x, y = draw.normal(size=(20, 6)), draw.normal(size=(20, 6))
        kernel.append(kernel_distance(x, y))
        frechet.append(frechet_distance(x, y))
    assert abs(np.mean(kernel)) < 4 * np.std(kernel) / math.sqrt(300)
    assert np.mean(frechet) > 0.3


def test_a_file_without_a_known_network_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(DataError, match="cannot be loaded"):
        load_features(path)
    torch.save({"x": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="holds neither"):
        load_features(path)


def test_a_mobilenet_without_classifier_gives_features(tmp_path):
    state = torchvision.models.mobilenet_v2(weights=None).state_dict()
    path = tmp_path / "mobilenet.pth"
    torch.save({k: v for k, v in state.items() if not k.startswith("classifier")}, path)
    extract = load_features(path)
    assert extract(images(2, 1, 40, 40)).shape == (2, 1280)
    assert extract.name == "MobileNetV2"


def test_scores_become_plain_json():
    scores = TranslationScores(
        rgb_images=2,
        thermal_images=2,
        subjects=1,
        paired=0,
        figures={"cycle": Measured(mean=0.1, interval=Interval(math.nan, math.nan), images=2)},
        not_available={"lpips": "no weights"},
    )
    data = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert data["figures"]["cycle"] == {"mean": 0.1, "interval": [None, None], "images": 2}
    assert data["not_available"]["lpips"] == "no weights"
