"""What frozen networks make of pictures, as it is learnt from."""

from __future__ import annotations

import numpy as np

from perceived import frozen


def test_features_to_learn_are_of_one_scale_and_none_of_them_is_far_out() -> None:
    values = np.random.default_rng(0).normal([5.0, -3.0, 0.0], [100.0, 0.01, 1.0], (2_000, 3)).astype(np.float32)
    values[:, 2] = 7.0  # a feature that tells nothing
    values[0, 0] = 1e6
    found = frozen.standardised(values)
    assert found.dtype == np.float32
    assert found[0, 0] == 5.0
    np.testing.assert_allclose(found[:, 1].mean(), 0, atol=1e-3)
    np.testing.assert_allclose(found[:, 1].std(), 1, atol=1e-3)
    assert not found[:, 2].any()
