import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ase_mlx.nn.frames import LEAST, descriptors, powers

REACH, NEAR = 5.0, 3.5


def describe(neighbors, channels=None, near=NEAR, degree=4):
    channels = np.ones((len(neighbors), 1)) if channels is None else channels
    return descriptors(np.array([0, len(neighbors)]), neighbors, channels, REACH, 6, degree, 0.8, near)[0]


def cloud(n=9, seed=0):
    return np.random.default_rng(seed).uniform(-2.5, 2.5, (n, 3))


def literal(u, near=NEAR, degree=4):
    """The sum of the module's docstring, written out."""
    d = np.linalg.norm(u, axis=1)
    soft, unit = u / np.sqrt(d**2 + 0.25)[:, None], u / d[:, None]
    w = (1 - np.exp(-((d / 0.5) ** 2))) * np.exp(-np.sqrt(d**2 + 0.25) / 0.8) * np.maximum(1 - (d / near) ** 2, 0) ** 3
    w = w / (w.sum() + np.exp(-near / 0.8))
    out = np.zeros((6, len(powers(degree))))
    for k in range(len(u)):
        gauss = lambda x: np.exp(-0.5 * (x - np.arange(6)) ** 2)  # noqa: E731
        scaled = d[k] / (REACH / 6)
        radial = max(1 - (d[k] / REACH) ** 2, 0) ** 3 * (gauss(scaled) + gauss(-scaled))
        for place, (a, b) in enumerate(powers(degree)):
            value = 1.0 if a + b == 0 else 0.0
            for i in range(len(u)):
                p = soft[k] @ unit[i]
                if b == 0 and a:
                    value += w[i] * p**a
                for j in range(len(u)) if b else ():
                    if i != j and w[i] * w[j] > LEAST:
                        along = unit[i] @ unit[j]
                        second = (unit[j] - along * unit[i]) / np.sqrt(1 - along**2)
                        weight = w[i] * w[j] * (1 - LEAST / (w[i] * w[j])) ** 2 * (1 - along**2)
                        value += weight * p**a * (soft[k] @ second) ** b
            out[:, place] += radial * value
    return out


def test_descriptors_are_the_sum_over_frames():
    assert describe(cloud())[0] == pytest.approx(literal(cloud()), abs=1e-6)


@pytest.mark.parametrize("mirrored", [False, True])
def test_descriptors_do_not_turn(mirrored):
    turn = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix() @ np.diag([1, 1, -1 if mirrored else 1])
    assert describe(cloud() @ turn.T) == pytest.approx(describe(cloud()), abs=1e-12)
    order = np.random.default_rng(1).permutation(9)
    assert describe(cloud()[order]) == pytest.approx(describe(cloud()), abs=1e-12)


def test_descriptors_are_smooth_where_frames_would_flip():
    # two neighbours change places as the nearest; a third passes the point; a pair becomes collinear; one leaves
    paths = {
        "crossing": lambda t: np.array([[1.2 + t, 0, 0], [0, 1.2 - t, 0.3], [0.5, -0.8, 1.5]]),
        "through the point": lambda t: np.array([[t, 0, 0], [0.3, 1.4, 0], [0, -0.9, 1.6]]),
        "collinear": lambda t: np.array([[1.2, t, 0], [-1.5, 0, 0], [0, 1.7, 1.1]]),
        "near's edge": lambda t: np.array([[NEAR + t, 0, 0], [1.0, 0.2, 0], [0, 1.3, 1.1]]),
        "reach's edge": lambda t: np.array([[REACH + t, 0, 0], [1.0, 0.2, 0], [0, 1.3, 1.1]]),
    }
    for name, path in paths.items():
        step = 1e-4
        rows = np.array([describe(path(k * step)) for k in range(-4, 5)])
        slopes = np.diff(rows, axis=0) / step
        assert np.abs(slopes).max() < 20, name
        assert np.abs(np.diff(slopes, axis=0)).max() < 1e-2, name


def test_nothing_around_is_nothing():
    found = descriptors(np.array([0, 0, 2]), cloud(2), np.ones((2, 3)), REACH, 4, 2, 0.8, NEAR)
    assert found.shape == (2, 3, 4, 6)
    assert not found[0].any()
    assert found[1].any()


def test_channels_weigh_neighbors():
    u, c = cloud(), np.random.default_rng(2).standard_normal((9, 2))
    found = describe(u, c)
    assert found[0] == pytest.approx(describe(u, c[:, :1])[0])
    assert describe(u, c[:, :1] + c[:, 1:])[0] == pytest.approx(found.sum(0), abs=1e-10)
    assert len(powers(4)) == 15
