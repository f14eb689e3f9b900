"""Maps of evidence are reproducible and masked, tested by hiding, put into words by zones, and drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eye_dx_core.dataset.field_of_view import crop_to_field
from eye_dx_core.dataset.phantom import render_phantom
from eye_dx_core.inference.deletion import deletion_scores, even_order, is_better_than_chance
from eye_dx_core.inference.evidence import evidence_strengths, find_evidence, hiding_depth, lit_patches, read_tokens
from eye_dx_core.inference.landmarks import Disc, find_disc
from eye_dx_core.inference.overlay import draw_overlay, save_overlay
from eye_dx_core.inference.zones import find_zones, inside_field
from eye_dx_core.model.preprocess import to_unit
from eye_dx_core.model.vit import FundusVit, TrunkConfig, build_model
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.diagnosis import AbnormalArea, EvidenceMap, Outcome, PhotoPrediction, Zone

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
GRID, PATCH = 14, 16


def a_lamp_finder() -> FundusVit:
    """A model that can be seen through: blocks that change nothing, and label 0 for light."""
    config = TrunkConfig(name="lamp", image_size=GRID * PATCH, patch=PATCH, dim=8, depth=3, heads=2)
    model = build_model(config, class_count=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        trunk = model.trunk
        trunk.patch_embed.proj.weight[0] = 1 / (3 * PATCH**2)
        trunk.patch_embed.proj.bias[1] = 1
        trunk.fc_norm.weight.fill_(1)
        model.head.weight[0, 0] = 4
    return model


def squares_with_light(*lights: tuple[slice, slice]) -> np.ndarray:
    """Dim, speckled squares, each with one bright region of patches (down, across)."""
    squares = np.random.default_rng(3).integers(30, 60, (len(lights), GRID, GRID, 1, 1, 1)).astype(np.uint8)
    for square, light in zip(squares, lights, strict=True):
        square[light] += 190
    squares = np.broadcast_to(squares, (len(lights), GRID, GRID, PATCH, PATCH, 3)).transpose(0, 1, 3, 2, 4, 5)
    return squares.reshape(len(lights), GRID * PATCH, GRID * PATCH, 3) * inside_field(GRID * PATCH)[..., None]


LIGHTS = ((slice(2, 5), slice(3, 8)), (slice(7, 12), slice(8, 11)))


def find(squares: np.ndarray) -> tuple[EvidenceMap | None, ...]:
    model = a_lamp_finder()
    return find_evidence(model, read_tokens(model, to_unit(squares)), torch.zeros(len(squares), dtype=torch.long), squares=squares)


def test_the_same_place_is_found_in_half_precision():
    squares, model = squares_with_light(*LIGHTS), a_lamp_finder().bfloat16()
    tokens = read_tokens(model, to_unit(squares).bfloat16())

    half = find_evidence(model, tokens, torch.zeros(len(squares), dtype=torch.long), squares=squares)

    for one, whole in zip(half, find(squares), strict=True):
        assert one is not None
        assert whole is not None
        assert np.argmax(one.weights) in np.flatnonzero(np.array(whole.weights) > 240)


def an_evidence_map(weights: np.ndarray, score: float = 2.0) -> EvidenceMap:
    flat = np.rint(weights / weights.max() * 255).astype(int).flatten().tolist()
    return EvidenceMap(rows=len(weights), columns=len(weights), weights=tuple(flat), deletion_score=score)


def a_prediction(weights: np.ndarray) -> PhotoPrediction:
    areas = (AbnormalArea(zone=Zone.MACULA, strength=0.7),)
    return PhotoPrediction(
        photo_id="secret-name", eye=RIGHT, outcome=Outcome.ASSESSED, conclusion="A", evidence=an_evidence_map(weights), abnormal_areas=areas
    )


def test_the_map_shows_what_the_conclusion_came_from():
    for evidence, light in zip(find(squares_with_light(*LIGHTS)), LIGHTS, strict=True):
        assert evidence is not None
        weights = np.array(evidence.weights).reshape(GRID, GRID)
        there = np.zeros((GRID, GRID), dtype=bool)
        there[light] = True
        assert weights[there].min() > 150
        assert weights[~there].max() < 50
        assert evidence.deletion_score > 0


def test_a_map_is_the_same_every_time_and_in_every_batch():
    squares = squares_with_light(*LIGHTS)

    together = find(squares)

    assert together == find(squares)
    for one, alone in zip(together, (find(squares[:1])[0], find(squares[1:])[0]), strict=True):
        assert one is not None
        assert alone is not None
        assert one.weights == alone.weights
        assert one.deletion_score == pytest.approx(alone.deletion_score, abs=1e-5)


def test_tokens_kept_for_the_evidence_give_the_same_logits():
    model = build_model(TrunkConfig(name="tiny", image_size=64, patch=16, dim=24, depth=3, heads=2), class_count=4).eval()
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    tokens = read_tokens(model, batch)

    with torch.no_grad():
        torch.testing.assert_close(model.head(model.pool(tokens.late)), model(batch))
        torch.testing.assert_close(model.logits_from(tokens.early, depth=hiding_depth(model)), model(batch))


def test_nothing_is_seen_outside_the_field_nor_where_the_camera_cut_it_off():
    squares = squares_with_light(*LIGHTS)
    squares[:, : 4 * PATCH] = 0
    lit = lit_patches(squares, GRID).reshape(-1, GRID, GRID)

    assert not lit[:, :4].any()
    assert not lit[:, ~inside_field(GRID)].any()
    for evidence in find(squares):
        assert evidence is None or not np.array(evidence.weights).reshape(GRID, GRID)[:4].any()


def test_hiding_rejects_maps_by_chance_and_maps_of_the_wrong_place():
    model, squares = a_lamp_finder(), squares_with_light(*LIGHTS)
    tokens, chosen = read_tokens(model, to_unit(squares)), torch.zeros(2, dtype=torch.long)
    lit = lit_patches(squares, GRID)
    right = evidence_strengths(model, tokens.late, chosen, lit)

    def score(strengths: torch.Tensor) -> torch.Tensor:
        return deletion_scores(model, tokens.early, depth=hiding_depth(model), condition_indices=chosen, strengths=strengths * lit, lit=lit)

    def is_kept(strengths: torch.Tensor) -> torch.Tensor:
        return is_better_than_chance(score(strengths), model.head(model.pool(tokens.late)).detach(), chosen)

    generator = torch.Generator().manual_seed(1)
    by_chance = torch.stack([score(torch.rand(right.shape, generator=generator)) for _ in range(30)])
    assert is_kept(right).all()
    assert not is_kept(right.max() - right).any()
    assert (score(right) > by_chance.max(dim=0).values).all()
    assert by_chance.mean().abs() < 0.1 * score(right).min()


def test_even_hiding_takes_a_fifth_of_every_region():
    first = even_order(GRID).reshape(GRID, GRID) >= 4

    for down in range(GRID - 4):
        for across in range(GRID - 4):
            assert first[down : down + 5, across : across + 5].sum() == 5


def test_a_photograph_with_no_place_that_stands_out_is_not_localised():
    even = np.full((1, GRID * PATCH, GRID * PATCH, 3), 90, dtype=np.uint8) * inside_field(GRID * PATCH)[..., None].astype(np.uint8)

    assert find(even) == (None,)


def test_where_disc_and_eye_disagree_only_disc_and_periphery_are_named():
    assert find_zones(spot(-0.12, 0.0), Disc(x=0.5, y=0.0), LEFT) == ()
    assert [area.zone for area in find_zones(spot(0.5, 0.0), Disc(x=0.5, y=0.0), LEFT)] == [Zone.DISC]


def test_an_evidence_map_fills_its_grid():
    with pytest.raises(ValueError, match="one weight per place"):
        EvidenceMap(rows=2, columns=2, weights=(1, 2, 3), deletion_score=1.0)
    with pytest.raises(ValueError, match="less than or equal to 255"):
        EvidenceMap(rows=1, columns=1, weights=(256,), deletion_score=1.0)


def spot(x: float, y: float) -> np.ndarray:
    axis = (np.arange(GRID) + 0.5) / GRID * 2 - 1
    return np.exp(-((axis[None, :] - x) ** 2 + (axis[:, None] - y) ** 2) / 0.02) * inside_field(GRID)


@pytest.mark.parametrize(
    ("place", "zone"),
    [
        ((-0.12, 0.0), Zone.MACULA), ((0.5, -0.05), Zone.DISC), ((-0.3, -0.55), Zone.SUPERIOR_TEMPORAL),
        ((-0.3, 0.6), Zone.INFERIOR_TEMPORAL), ((0.65, 0.35), Zone.NASAL), ((-0.9, 0.1), Zone.PERIPHERY),
    ],
)  # fmt: skip
def test_left_eyes_are_mirrored_right_eyes(place: tuple[float, float], zone: Zone):
    x, y = place
    right = find_zones(spot(x, y), Disc(x=0.5, y=-0.05), RIGHT)
    left = find_zones(spot(-x, y), Disc(x=-0.5, y=-0.05), LEFT)

    assert right[0].zone is zone
    assert [area.zone for area in left] == [area.zone for area in right]
    assert [area.strength for area in left] == pytest.approx([area.strength for area in right])
    assert find_zones(spot(x, y), Disc(x=0.5, y=-0.05), None) == right


def test_without_a_disc_only_the_periphery_has_a_name():
    assert [area.zone for area in find_zones(spot(-0.9, 0.1), None, RIGHT)] == [Zone.PERIPHERY]
    assert find_zones(spot(-0.12, 0.0), None, RIGHT) == ()
    # In the middle of the picture, a disc does not tell which eye it is.
    assert [area.zone for area in find_zones(spot(0.02, 0.0), Disc(x=0.02, y=0.0), None)] == [Zone.DISC]
    assert find_zones(spot(-0.5, 0.0), Disc(x=0.02, y=0.0), None) == ()


def test_spread_evidence_has_no_zone():
    phantom = render_phantom("N", eye=LEFT, seed=3, size=224)
    disc = find_disc(crop_to_field(phantom.rgb, size=224))

    assert find_zones(np.ones((GRID, GRID)), disc, LEFT) == ()
    assert find_zones(np.zeros((GRID, GRID)), disc, LEFT) == ()


def test_zones_have_names_in_both_languages():
    assert all(zone.name_zh and zone.name_en.isascii() for zone in Zone)


def test_the_picture_is_brightest_where_the_evidence_is_strongest_and_black_outside():
    square = np.full((224, 224, 3), (200, 110, 60), dtype=np.uint8) * inside_field(224)[..., None].astype(np.uint8)

    picture = np.asarray(draw_overlay(square, a_prediction(spot(-0.3, 0.3))))

    side = picture.shape[1] // 2
    photo, panel = picture[:side, :side], picture[:side, side:]
    assert photo[side // 2, side // 4].tolist() == [200, 110, 60]
    outside = ~inside_field(side)
    rim = np.hypot(*(np.mgrid[:side, :side] + 0.5 - side / 2)) > side / 2 + 2
    assert panel[outside & rim].max() == 0
    light = panel.astype(float) @ [0.299, 0.587, 0.114]
    at = round((1 + 0.3) / 2 * side), round((1 - 0.3) / 2 * side)
    elsewhere = np.hypot(*(np.mgrid[:side, :side] - np.array(at)[:, None, None])) > side / 5
    assert light[at] > np.percentile(light[elsewhere & ~outside], 99)


def test_a_saved_picture_holds_no_name(tmp_path: Path):
    square = np.full((224, 224, 3), 120, dtype=np.uint8)

    save_overlay(square, a_prediction(spot(0, 0)), tmp_path / "picture.png")

    assert b"secret" not in (tmp_path / "picture.png").read_bytes()
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.info == {}
    with pytest.raises(ValueError, match="no evidence"):
        draw_overlay(square, PhotoPrediction(photo_id="p", outcome=Outcome.NOT_ASSESSED))
