"""A model that may have learnt the camera is shown up by the photographs' sources."""

import numpy as np
import pytest

from eye_dx_core.training.source_probe import SourceProbe, probe_sources


def photographs(count: int, *, camera: float, seed: int, entangled: bool) -> tuple[np.ndarray, list[str], list[str]]:
    """Features in which the source is seen as strongly as `camera` says; entangled, each label comes from one source."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["D", "G", "N"], count)
    sources = np.where(labels == "N", "clinic", "hospital") if entangled else rng.choice(["clinic", "hospital"], count)
    features = rng.normal(size=(count, 12)).astype(np.float32)
    features[:, 0] += camera * (sources == "clinic")
    return features, sources.tolist(), labels.tolist()


def probed(*, camera: float, entangled: bool) -> SourceProbe:
    learnt, asked = (photographs(400, camera=camera, seed=seed, entangled=entangled) for seed in (0, 1))
    found = probe_sources(*learnt, test_features=asked[0], test_sources=asked[1], test_labels=asked[2])
    assert found is not None
    return found


def test_a_camera_that_cannot_be_seen_explains_nothing():
    found = probed(camera=0.0, entangled=True)

    assert found.source_recall == pytest.approx(0.5, abs=0.1)
    assert found.label_recall < 0.45


def test_a_camera_that_gives_the_label_away_is_said():
    found = probed(camera=8.0, entangled=True)

    assert found.source_recall > 0.95
    # Of three labels, the one with a clinic of its own is always right, and one of the two others.
    assert found.label_recall == pytest.approx(2 / 3, abs=0.05)


def test_a_camera_that_is_seen_and_says_nothing_of_the_label_is_harmless():
    found = probed(camera=8.0, entangled=False)

    assert found.source_recall > 0.95
    assert found.label_recall == pytest.approx(1 / 3, abs=0.1)


def test_a_single_source_cannot_be_probed():
    features = np.zeros((4, 3), np.float32)

    alone = {"test_features": features, "test_sources": ["a"] * 4, "test_labels": ["N"] * 4}

    assert probe_sources(features, ["a"] * 4, ["N"] * 4, **alone) is None
    assert probe_sources(features, ["a", "b"] * 2, ["N"] * 4, **alone) is None
