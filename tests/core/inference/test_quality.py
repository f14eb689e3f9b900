"""Each defect is named, only what nobody can read is rejected, and what is no fundus photograph is refused."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from eye_dx_core.dataset.field_of_view import find_field_of_view
from eye_dx_core.dataset.phantom import Defect, render_phantom
from eye_dx_core.dataset.photo import Rgb
from eye_dx_core.errors import BadPhoto, BadSettings
from eye_dx_core.inference.preparing import PreparedPhoto, prepare_photo
from eye_dx_core.inference.quality import assess_quality
from eye_dx_core.inference.quality_measures import measure
from eye_dx_core.inference.quality_rules import load_rules
from eye_dx_core.inference.workers import PhotoWorkers
from eye_dx_core.schema.case import Laterality
from eye_dx_core.schema.quality import Quality, QualityIssue, QualityLevel
from tests.other_pictures import draw_other_pictures

FUNDUS5 = Path(__file__).parents[4] / "shared" / "fundus5"
ISSUES = {
    None: None,
    Defect.BLUR: QualityIssue.BLURRED,
    Defect.UNDER_EXPOSED: QualityIssue.TOO_DARK,
    Defect.OVER_EXPOSED: QualityIssue.TOO_BRIGHT,
    Defect.CUT_FIELD: QualityIssue.FIELD_CUT,
    Defect.EYELASH: QualityIssue.OBSTRUCTED,
}


def a_phantom(code: str = "N", seed: int = 7, *, size: int = 320, defect: Defect | None = None, severity: float = 0.7) -> Rgb:
    return render_phantom(code, eye=tuple(Laterality)[seed % 2], seed=seed, size=size, defect=defect, severity=severity).rgb


def quality_of(rgb: Rgb) -> Quality:
    field = find_field_of_view(rgb)
    return assess_quality(measure(rgb, field, pixels_across=600), load_rules().default)


def as_jpeg(rgb: Rgb, *, camera: str | None = None) -> bytes:
    file, tags = io.BytesIO(), Image.Exif()
    if camera:
        tags[0x010F], tags[0x0110] = camera.split(maxsplit=1)
    Image.fromarray(rgb).save(file, "JPEG", quality=95, exif=tags)
    return file.getvalue()


@pytest.mark.parametrize("defect", [None, *Defect])
def test_each_defect_is_named_and_a_clean_photograph_is_good(defect: Defect | None):
    for seed, code in enumerate(("A", "CSC", "D1", "D4", "G", "N", "RP", "BRVO")):
        quality = quality_of(a_phantom(code, seed, defect=defect))

        assert (quality.issues[:1] or (None,))[0] is ISSUES[defect]
        assert (quality.level is QualityLevel.GOOD) == (defect is None)


def test_blur_alone_never_rejects_because_it_may_be_a_cataract():
    for seed, code in enumerate(("N", "C", "D3")):
        blurred = gaussian_filter(a_phantom(code, seed, defect=Defect.BLUR), (5, 5, 0))

        assert quality_of(blurred).level is QualityLevel.USABLE


def test_a_cloudy_lens_is_mostly_called_hazy_and_a_lens_out_of_focus_blurred():
    cloudy = [quality_of(a_phantom("C", seed, severity=1.0)).issues for seed in range(6)]
    unfocused = [quality_of(a_phantom("D1", seed, defect=Defect.BLUR)).issues for seed in range(6)]

    assert set(cloudy) <= {(QualityIssue.HAZY,), (QualityIssue.BLURRED,)}
    assert cloudy.count((QualityIssue.HAZY,)) >= 4
    assert unfocused.count((QualityIssue.BLURRED,)) >= 5


def test_noise_does_not_pass_for_sharpness_nor_for_vessels():
    noise = np.random.default_rng(1).normal(0, 8, (640, 640, 3))
    noisy = np.clip(a_phantom(size=640, defect=Defect.BLUR) + noise, 0, 255).astype(np.uint8)
    flat = np.clip(draw_other_pictures(1)["orange disc"] + noise[:480, :480], 0, 255).astype(np.uint8)

    assert quality_of(noisy).issues == (QualityIssue.BLURRED,)
    assert quality_of(flat).issues == (QualityIssue.NO_DETAIL,)


def test_a_picture_of_which_only_shreds_are_lit_is_measured_in_numbers_and_is_not_good():
    rgb = render_phantom("N", eye=Laterality.RIGHT, seed=1, size=512).rgb.copy()
    for line in range(0, 512, 30):
        rgb[line : line + 3], rgb[:, line : line + 3] = 0, 0
    field = find_field_of_view(rgb)

    measures = measure(rgb, field, pixels_across=2 * field.radius)

    assert np.isfinite(list(measures.as_numbers().values())).all()
    assert assess_quality(measures, load_rules().get_rules(None)).level is not QualityLevel.GOOD


def test_the_verdict_depends_neither_on_the_size_of_the_file_nor_on_the_model():
    large = a_phantom("D2", size=1100, defect=Defect.BLUR)
    small = np.asarray(Image.fromarray(large).resize((500, 500), Image.Resampling.BOX))

    verdicts = [prepare_photo(as_jpeg(one), size=size).quality for one in (large, small) for size in (64, 224, 384)]

    assert {one.issues for one in verdicts} == {(QualityIssue.BLURRED,)}
    assert [one.measures["pixels_across"] for one in verdicts] == pytest.approx([1034] * 3 + [470] * 3, rel=0.01)
    for name in ("sharpness", "vessels", "contrast", "brightness", "evenness"):
        values = [one.measures[name] for one in verdicts]
        assert max(values) == pytest.approx(min(values), rel=0.12)


def test_a_thumbnail_is_told_to_be_one():
    assert QualityIssue.LOW_RESOLUTION in prepare_photo(as_jpeg(a_phantom(size=200)), size=224).quality.issues


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_no_fundus_photograph_is_refused(seed: int):
    reasons = {kind: reason_to_refuse(picture) for kind, picture in draw_other_pictures(seed).items()}

    # A disc without any detail may also be a lens that lets nothing through; the advice speaks of both.
    assert {reasons.pop("orange disc"), reasons.pop("red ball")} == {"no_detail"}
    assert set(reasons.values()) == {"not_a_fundus", "no_field_of_view"}


def reason_to_refuse(picture: Rgb) -> str | None:
    try:
        quality = quality_of(picture)
    except BadPhoto as error:
        return error.reason
    return quality.issues[0] if quality.level is QualityLevel.REJECT else None


def test_a_photograph_cropped_inside_its_field_is_still_a_fundus():
    for seed, code in enumerate(("N", "G", "D1", "A")):
        whole = a_phantom(code, seed, size=500)

        quality = quality_of(np.ascontiguousarray(whole[90:410, 90:410]))

        assert (quality.level, quality.issues) == (QualityLevel.USABLE, (QualityIssue.FIELD_CUT,))


def test_every_issue_says_what_to_do_in_both_languages():
    for issue in QualityIssue:
        assert issue.advice_en.endswith((".", "?"))
        assert issue.advice_zh.endswith("。")


def test_nothing_found_on_a_photograph_that_hides_findings_is_not_normal():
    assert quality_of(a_phantom()).hides_findings is None
    assert quality_of(a_phantom(defect=Defect.EYELASH)).hides_findings is QualityIssue.OBSTRUCTED
    assert Quality(level=QualityLevel.USABLE, issues=(QualityIssue.COLOUR_CAST,)).hides_findings is None


def test_a_file_changes_rules_for_all_and_for_one_camera(tmp_path: Path):
    file = tmp_path / "quality.yaml"
    file.write_text('default: {evenness: {flag_below: 0.2}}\ncameras:\n  "Maker  X1": {brightness: {flag_below: 0.9}}\n  "Maker X2":\n')
    rules, shipped = load_rules(file), load_rules().default

    assert rules.default == shipped.model_copy(update={"evenness": shipped.evenness.model_copy(update={"flag_below": 0.2})})
    assert rules.get_rules("maker x1").brightness.flag_below == 0.9
    assert rules.get_rules("maker x1").evenness.flag_below == 0.2
    assert rules.get_rules("Maker X2") == rules.get_rules("another") == rules.get_rules(None) == rules.default


def test_the_camera_in_the_file_decides_which_rules_hold_also_in_a_worker(tmp_path: Path):
    file = tmp_path / "quality.yaml"
    file.write_text("cameras: {Maker X1: {brightness: {flag_below: 0.95}}}")
    rules, photos = load_rules(file), [as_jpeg(a_phantom(), camera=name) for name in ("Maker X1", "Maker X2")]

    with PhotoWorkers(count=1) as workers:
        prepared = [workers.prepare(one, size=64, rules=rules) for one in photos]
        by_shipped_rules = workers.prepare(photos[0], size=64)

    assert all(isinstance(one, PreparedPhoto) for one in (*prepared, by_shipped_rules))
    assert [(one.camera, one.quality.issues) for one in prepared] == [("Maker X1", (QualityIssue.TOO_DARK,)), ("Maker X2", ())]
    assert by_shipped_rules.quality.issues == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("default: {sharpnes: {flag_below: 1}}", r": default\.sharpnes: Extra inputs"),
        ("default: {vessels: {flag_below: high}}", r": default\.vessels\.flag_below: .*number"),
        ("default: {lit: {flag_below: 0.1}}", r": default\.lit: .*reject_below is above flag_below"),
        ("cameras: {Maker X1: {fundus: {rim_at_least: -1}}}", r": cameras\.maker x1\.fundus\.rim_at_least: "),
        ("camera: {}", ": camera: Extra inputs"),
        ("[1, 2]", ": the file: "),
        ("default: {", " is no YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_its_key(text: str, complaint: str, tmp_path: Path):
    file = tmp_path / "quality.yaml"
    file.write_text(text)

    with pytest.raises(BadSettings, match=f"EYE_DX_QUALITY_FILE{complaint}"):
        load_rules(file)
    with pytest.raises(BadSettings, match="EYE_DX_QUALITY_FILE names no readable file"):
        load_rules(tmp_path / "none.yaml")


@pytest.mark.skipif(not FUNDUS5.is_dir(), reason="needs the photographs of ../shared/fundus5")
def test_most_real_photographs_can_be_read():
    with (FUNDUS5 / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))[::20]

    levels = [prepare_photo(FUNDUS5 / row["file"], size=224).quality.level for row in rows]

    assert np.mean([level is not QualityLevel.REJECT for level in levels]) >= 0.85
    assert np.mean([level is QualityLevel.GOOD for level in levels]) >= 0.6
