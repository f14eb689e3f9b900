import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from eye_dx_core.dataset.manifest import Manifest
from eye_dx_core.dataset.phantom_folders import write_phantom_dataset
from eye_dx_core.dataset.scanning import scan_photos
from eye_dx_core.dataset.splitting import Split, Splits, split_by_patient
from eye_dx_core.errors import BadDataset, BadSettings
from eye_dx_core.model.adapter import AdapterConfig
from eye_dx_core.model.checkpoint import Checkpoint, load_checkpoint
from eye_dx_core.model.vit import FundusVit, TrunkConfig, build_model
from eye_dx_core.schema.condition import LABEL_SETS
from eye_dx_core.training.config import TrainingConfig
from eye_dx_core.training.evaluation import Evaluation, answer, evaluate
from eye_dx_core.training.feeds import LabelledPhotos, PhotoFeed
from eye_dx_core.training.fine_tuning import train_checkpoint
from eye_dx_core.training.loop import EpochResult, fine_tune
from eye_dx_core.training.losses import Objective, log_shares
from eye_dx_core.training.state import TrainingState

TINY = TrunkConfig(name="tiny", image_size=32, patch=8, dim=24, depth=2, heads=2)


def coloured_photos(count: int, seed: int) -> LabelledPhotos:
    """Three kinds of squares that differ in colour alone."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    squares = rng.integers(0, 90, (count, 32, 32, 3), dtype=np.uint8)
    squares[np.arange(count), ..., labels] += 120
    return LabelledPhotos(squares, labels)


def a_model() -> FundusVit:
    torch.manual_seed(0)
    return build_model(TINY, class_count=3, adapters=AdapterConfig(bottleneck=8))


def tune(model: FundusVit, config: TrainingConfig, state: TrainingState | None = None) -> list[EpochResult]:
    return list(
        fine_tune(
            model,
            train=PhotoFeed(coloured_photos(24, 1), TINY.preprocess(), config.augmentation),
            validation=PhotoFeed(coloured_photos(12, 2), TINY.preprocess(), config.augmentation),
            objective=Objective("cross_entropy", (8, 8, 8)),
            config=config,
            state=state,
        )
    )


def test_a_tiny_set_is_learnt_and_the_epochs_say_so():
    model = a_model()

    results = tune(model, TrainingConfig(epochs=15, batch_size=8, learning_rate=1e-2))

    assert [one.epoch for one in results] == list(range(1, len(results) + 1))
    assert results[-1].train_loss < results[0].train_loss / 2
    assert max(one.balanced_accuracy for one in results) == 1.0
    assert "balanced accuracy" in str(results[0])
    assert results[0].as_metrics()["train_loss"] == results[0].train_loss


def test_equal_seeds_give_equal_models():
    config = TrainingConfig(epochs=2, batch_size=8, seed=4)
    one, same = a_model(), a_model()

    tune(one, config)
    tune(same, config)

    assert all(torch.equal(left, right) for left, right in zip(one.state_dict().values(), same.state_dict().values(), strict=True))


def test_training_stops_when_nothing_gets_better_and_keeps_the_best_epoch():
    model = a_model()

    results = tune(model, TrainingConfig(epochs=60, batch_size=8, learning_rate=1e-2, patience=3))

    best = max(one.epoch for one in results if one.is_best)
    assert len(results) == best + 3 < 60
    scores = [one.score for one in results]
    assert scores[best - 1] == max(scores)


def test_a_training_that_diverges_says_so():
    with pytest.raises(BadSettings, match="diverged at learning rate 1e\\+30"):
        tune(a_model(), TrainingConfig(epochs=3, batch_size=8, learning_rate=1e30, method="full", warmup_epochs=0))


def evaluated(checkpoint: Checkpoint, squares: NDArray[np.uint8], labels: list[str]) -> Evaluation:
    nobody = [str(place) for place in range(len(labels))]
    return evaluate(answer(checkpoint, squares, labels, patients=nobody, sources=["one"] * len(labels)))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "photos"
    write_phantom_dataset(folder, size=128, counts={"N": 8, "C": 6, "RP": 6})
    return folder


def screen(phantoms) -> tuple[Manifest, Splits]:
    manifest = scan_photos(phantoms, label_set=LABEL_SETS["screen"])
    return manifest, split_by_patient(manifest, seed=0)


@pytest.fixture(scope="module")
def checkpoint(phantoms, tmp_path_factory) -> Checkpoint:
    manifest, splits = screen(phantoms)
    folder = tmp_path_factory.mktemp("checkpoint")
    results = train_checkpoint(
        folder=folder / "checkpoint",
        photo_folder=phantoms,
        manifest=manifest,
        splits=splits,
        config=TrainingConfig(epochs=4, batch_size=8, bottleneck=8),
        trunk=None,
        cache_folder=folder / "cache",
    )
    assert len(list(results)) == 4
    return load_checkpoint(folder / "checkpoint")


def test_a_checkpoint_says_what_it_was_made_of(phantoms, checkpoint):
    manifest, splits = screen(phantoms)
    card = checkpoint.card

    assert (card.data_fingerprint, card.splits_fingerprint) == (manifest.fingerprint, splits.fingerprint)
    assert card.label_set == LABEL_SETS["screen"]
    assert card.trunk.name == "small"
    assert card.training["epochs"] == 4
    assert card.training["loss"] == "cross_entropy"  # the two labels are nearly even, so there is nothing to balance
    assert card.log_prior == pytest.approx(log_shares(card.training_counts))
    assert 0.2 <= card.temperature <= 5
    assert 0 <= card.uncertain_below < 1
    assert card.metrics["validation_score"] > 0
    assert checkpoint.reference is not None
    assert checkpoint.reference.centres.shape == (2, checkpoint.model.dim)


def test_a_fine_tuned_checkpoint_beats_chance_on_photographs_it_has_not_seen(phantoms, checkpoint, tmp_path):
    from eye_dx_core.dataset.cache import load_squares

    manifest, splits = screen(phantoms)
    rows = [row for row in manifest.rows if splits.assignment[row.photo_id] is Split.TEST]
    squares = load_squares(phantoms, rows, size=checkpoint.card.preprocess.size, cache_folder=tmp_path)

    evaluation = evaluated(checkpoint, squares, [row.label for row in rows])

    assert evaluation.balanced_accuracy > evaluation.chance == 0.5
    assert sum(map(sum, evaluation.confusion)) == len(rows) == evaluation.as_metrics()["photographs"]
    assert all(np.isfinite(list(evaluation.as_metrics().values())))
    assert evaluation.unlike_share == evaluation.as_metrics()["unlike_share"] <= 0.25
    low, high = evaluation.intervals["balanced_accuracy"]
    assert low <= evaluation.balanced_accuracy <= high


def test_a_label_without_test_photographs_has_no_recall(checkpoint):
    squares = np.zeros((2, checkpoint.card.preprocess.size, checkpoint.card.preprocess.size, 3), np.uint8)

    evaluation = evaluated(checkpoint, squares, ["N", "N"])

    assert evaluation.recall["DISEASE"] is None
    assert "recall_DISEASE" not in evaluation.as_metrics()
    assert evaluation.constant_accuracy == 1.0


def test_labels_of_another_label_set_are_refused(checkpoint):
    with pytest.raises(BadDataset, match="does not know: G"):
        evaluated(checkpoint, np.zeros((1, 224, 224, 3), np.uint8), ["G"])


def test_a_label_without_a_photograph_is_never_an_answer(phantoms, tmp_path):
    manifest = scan_photos(phantoms, label_set=LABEL_SETS["eight"])
    list(
        train_checkpoint(
            folder=tmp_path / "checkpoint",
            photo_folder=phantoms,
            manifest=manifest,
            splits=split_by_patient(manifest, seed=0),
            config=TrainingConfig(epochs=1, bottleneck=8),
            trunk=None,
            cache_folder=tmp_path / "cache",
        )
    )
    checkpoint = load_checkpoint(tmp_path / "checkpoint")

    probabilities = checkpoint.probabilities(torch.randn(5, 8) * 9)

    learnt = [count > 0 for count in checkpoint.card.training_counts]
    assert learnt == [code in ("C", "N", "RP") for code in checkpoint.card.label_set.codes]
    assert (probabilities[:, ~torch.tensor(learnt)] == 0).all()
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(5))


def test_a_deployment_prior_is_completed_and_travels_in_the_card(phantoms, tmp_path):
    manifest, splits = screen(phantoms)
    common = {"photo_folder": phantoms, "manifest": manifest, "splits": splits, "trunk": None, "cache_folder": tmp_path / "cache"}

    for name, prior in (("even", None), ("healthy", {"N": 0.98})):
        config = TrainingConfig(method="probe", epochs=1, deployment_prior=prior)
        list(train_checkpoint(folder=tmp_path / name, config=config, **common))

    even, healthy = (load_checkpoint(tmp_path / name) for name in ("even", "healthy"))
    normal = even.card.label_set.codes.index("N")
    logits = torch.zeros(1, 2)
    assert healthy.card.deployment_prior == pytest.approx(tuple(0.98 if place == normal else 0.02 for place in range(2)))
    assert healthy.probabilities(logits)[0, normal] > even.probabilities(logits)[0, normal]


@pytest.mark.parametrize(
    ("prior", "said"),
    [({"X": 0.5}, "names X"), ({"N": 1.2}, "add up to 1"), ({"N": 0.5, "DISEASE": 0.3}, "add up to 1"), ({"N": -0.1}, "add up to 1")],
)
def test_a_prior_that_cannot_be_is_refused(phantoms, tmp_path, prior, said):
    manifest, splits = screen(phantoms)
    config = TrainingConfig(method="probe", epochs=1, deployment_prior=prior)

    with pytest.raises(BadSettings, match=said):
        next(
            train_checkpoint(
                folder=tmp_path / "c",
                photo_folder=phantoms,
                manifest=manifest,
                splits=splits,
                config=config,
                trunk=None,
                cache_folder=tmp_path / "cache",
            )
        )


def test_one_label_alone_is_nothing_to_learn(tmp_path):
    write_phantom_dataset(tmp_path / "photos", size=128, counts={"N": 8})
    manifest = scan_photos(tmp_path / "photos", label_set=LABEL_SETS["eight"])

    with pytest.raises(BadDataset, match="at least two labels"):
        next(
            train_checkpoint(
                folder=tmp_path / "checkpoint",
                photo_folder=tmp_path / "photos",
                manifest=manifest,
                splits=split_by_patient(manifest, seed=0),
                config=TrainingConfig(epochs=1),
                trunk=None,
                cache_folder=tmp_path / "cache",
            )
        )
