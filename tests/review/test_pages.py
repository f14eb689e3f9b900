"""The desk as a browser without scripts meets it."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import eye_dx_review
from eye_dx_core.records.accounts import Role
from eye_dx_core.records.desk import CaseStage, NoteKind
from eye_dx_core.reviewing.signing import Problem
from eye_dx_core.schema.review import Ungradable
from eye_dx_core.schema.routing import Urgency
from eye_dx_review.desk import Desk
from eye_dx_review.permissions import ALLOWED, Act
from eye_dx_review.texts import SNIPPETS, TEXTS
from tests.builders import a_case, a_diagnosis
from tests.review.desks import PASSWORD, USERS, Clock, a_client, a_desk, a_form, add_case, add_report, csrf_of, with_evidence


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return a_desk(tmp_path)


def sign(client, case_id="case-1", *, password=PASSWORD, version=1, **changes):
    csrf = csrf_of(client)
    checked = client.post(f"/cases/{case_id}/check", data=a_form(csrf=csrf, version=version - 1, **changes))
    if checked.status_code != 200:
        return checked
    return client.post(f"/cases/{case_id}/sign", data={"csrf": csrf, "version": version, "password": password})


def test_a_doctor_claims_reviews_both_eyes_and_signs(desk: Desk):
    client = a_client(desk, "tang")
    csrf = csrf_of(client)
    assert "case-1" in client.get("/").text

    held = client.post("/cases/case-1/hold", data={"csrf": csrf})
    assert desk.records.find_holder("case-1") == "tang"
    assert "年龄相关性黄斑变性" in held.text
    checked = client.post("/cases/case-1/check", data=a_form(csrf=csrf, right_other="高度近视"))
    assert "右眼：年龄相关性黄斑变性、高度近视；左眼：未见明显异常" in checked.text
    signed = client.post("/cases/case-1/sign", data={"csrf": csrf, "version": 1, "password": PASSWORD})

    assert "只读" in signed.text
    review = desk.records.find_review("case-1")
    assert review is not None
    assert (review.conclusion, review.urgency) == ("右眼：年龄相关性黄斑变性、高度近视；左眼：未见明显异常", Urgency.URGENT)
    assert (review.doctor_name, review.source, review.ai_conclusion) == ("唐医生", "desk", "A")
    actions = [entry.action for entry in desk.records.audit() if entry.actor == "tang"]
    assert actions == ["log in", "claim case", "view case", "sign review", "view case"]


def test_photograph_and_evidence_are_pictures_that_no_cache_keeps(desk: Desk):
    client = a_client(desk, "tang")

    photo, evidence = client.get("/cases/case-1/photos/case-1-1"), client.get("/cases/case-1/evidence/case-1-1")

    assert (photo.headers["content-type"], photo.content[:2]) == ("image/jpeg", b"\xff\xd8")
    assert (evidence.headers["content-type"], evidence.content[:4]) == ("image/png", b"\x89PNG")
    assert photo.headers["cache-control"] == "no-store"
    assert client.get("/cases/case-1/evidence/case-1-2").status_code == 404
    assert client.get("/cases/case-1/photos/case-9-1").status_code == 404


def test_a_photograph_that_was_deleted_is_shown_no_more(desk: Desk):
    client = a_client(desk, "tang")
    assert client.get("/cases/case-1/photos/case-1-1").status_code == 200

    desk.records.mark_photos_deleted(["case-1"], desk.event("test", "delete photographs", "case-1"))

    assert client.get("/cases/case-1/photos/case-1-1").status_code == 404


def test_nobody_comes_in_without_a_login_and_a_wrong_password_tells_nothing(desk: Desk):
    client = a_client(desk)

    assert client.get("/cases/case-1").url.path == "/login"
    wrong = client.post("/login", data={"user_name": "tang", "password": "wrong password"})
    nobody = client.post("/login", data={"user_name": "nobody", "password": "wrong password"})
    assert (wrong.status_code, nobody.status_code) == (401, 401)
    assert wrong.text == nobody.text
    assert client.get("/").url.path == "/login"


def test_who_guesses_passwords_must_wait_even_with_the_right_one(desk: Desk):
    client = a_client(desk)
    for _ in range(5):
        client.post("/login", data={"user_name": "tang", "password": "wrong password"})

    assert client.post("/login", data={"user_name": "tang", "password": PASSWORD}).status_code == 429


def test_a_blocked_user_and_one_with_a_new_password_are_out_at_once(desk: Desk):
    client = a_client(desk, "tang")
    user = desk.records.find_user("tang")
    assert user is not None
    assert client.get("/").url.path == "/"

    desk.records.change_user(user.model_copy(update={"is_blocked": True}), event=desk.event("test", "block", "tang"))

    assert client.get("/").url.path == "/login"
    assert a_client(desk).post("/login", data={"user_name": "tang", "password": PASSWORD}).status_code == 401


def test_a_session_ends_when_it_idles_and_after_half_a_day(tmp_path: Path):
    desk = a_desk(tmp_path)
    clock = desk.now
    assert isinstance(clock, Clock)
    client = a_client(desk, "tang")
    clock.ahead = timedelta(minutes=29)
    assert client.get("/").url.path == "/"
    clock.ahead = timedelta(minutes=58)
    assert client.get("/").url.path == "/"
    clock.ahead = timedelta(minutes=89)
    assert client.get("/").url.path == "/login"

    clock.ahead = timedelta()
    client = a_client(desk, "tang")
    for hours in range(1, 26):
        clock.ahead = timedelta(minutes=29 * hours)
        path = client.get("/").url.path
    assert path == "/login"


def test_a_form_that_this_desk_did_not_make_changes_nothing(desk: Desk):
    client = a_client(desk, "tang")

    assert client.post("/cases/case-1/hold").status_code == 403
    assert client.post("/cases/case-1/hold", data={"csrf": csrf_of(a_client(desk, "song"))}).status_code == 403
    foreign = {"origin": "http://evil.example"}
    assert client.post("/cases/case-1/hold", data={"csrf": csrf_of(client)}, headers=foreign).status_code == 403
    assert desk.records.find_holder("case-1") is None


def test_every_answer_carries_the_headers_and_no_page_has_a_script_or_style_in_it(desk: Desk):
    client = a_client(desk, "tang")
    client.post("/cases/case-1/hold", data={"csrf": csrf_of(client)})

    for path in ("/login", "/", "/cases/case-1", "/cases/case-1/why", "/cases/none"):
        answer = client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["referrer-policy"] == "same-origin"
        assert not any(word in answer.text for word in ("<style", " style=", "onclick", "<script>"))
    cookie = a_client(desk).post("/login", data={"user_name": "tang", "password": PASSWORD}, follow_redirects=False).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


ROUTES = {
    ("GET", "/"): Act.SEE_LIST,
    ("GET", "/rows"): Act.SEE_LIST,
    ("GET", "/cases/case-1"): Act.SEE_CASE,
    ("GET", "/cases/case-1/photos/case-1-1"): Act.SEE_CASE,
    ("GET", "/cases/case-1/evidence/case-1-1"): Act.SEE_CASE,
    ("GET", "/cases/case-1/why"): Act.SEE_CASE,
    ("POST", "/cases/case-1/hold"): Act.REVIEW,
    ("POST", "/cases/case-1/release"): Act.REVIEW,
    ("POST", "/cases/case-1/draft"): Act.REVIEW,
    ("POST", "/cases/case-1/blind"): Act.REVIEW,
    ("POST", "/cases/case-1/check"): Act.REVIEW,
    ("POST", "/cases/case-1/sign"): Act.REVIEW,
    ("POST", "/cases/case-1/addenda"): Act.REVIEW,
    ("POST", "/cases/case-1/links"): Act.LINK,
    ("POST", "/cases/case-1/links/revoke"): Act.LINK,
}


@pytest.mark.parametrize("user", USERS)
def test_every_route_is_open_to_those_alone_who_may(desk: Desk, user: str):
    client, role = a_client(desk, user), USERS[user][1]
    csrf = csrf_of(client)

    for (method, path), act in ROUTES.items():
        answer = client.request(method, path, data={"csrf": csrf, "version": 9, "text": "补充"} if method == "POST" else None)
        assert (answer.status_code == 403) is (role not in ALLOWED[act]), (method, path)


def test_no_route_is_missing_from_the_table(desk: Desk):
    app = a_client(desk).app
    known = {path.replace("case-1-1", "{photo_id}").replace("case-1", "{case_id}") for _, path in ROUTES}
    open_to_all = {"/login", "/logout", "/language", "/r/{token}", "/static", "/healthz", "/readyz"}

    def paths(routes):
        for route in routes:
            if hasattr(route, "original_router"):
                yield from (f"{one.path}" for one in route.original_router.routes)
            elif getattr(route, "path", None):
                yield route.path

    assert set(paths(app.routes)) - open_to_all == known  # pyright: ignore[reportAttributeAccessIssue]


def test_a_second_doctor_on_the_same_case_is_told_who_holds_it(desk: Desk):
    first, second = a_client(desk, "tang"), a_client(desk, "song")
    first.post("/cases/case-1/hold", data={"csrf": csrf_of(first)})

    refused = second.post("/cases/case-1/hold", data={"csrf": csrf_of(second)})

    assert refused.status_code == 409
    assert "tang" in refused.text
    assert 'id="review"' not in second.get("/cases/case-1").text
    assert second.post("/cases/case-1/draft", data=a_form(csrf=csrf_of(second))).status_code == 409


def test_a_stale_form_is_not_taken_and_both_versions_are_shown(desk: Desk):
    client = a_client(desk, "tang")
    csrf = csrf_of(client)
    client.post("/cases/case-1/draft", data=a_form(csrf=csrf, recommendation="第一版"))

    stale = client.post("/cases/case-1/check", data=a_form(csrf=csrf, recommendation="第二版"))

    assert stale.status_code == 409
    assert "第一版" in stale.text
    assert "第二版" in stale.text
    draft = desk.records.find_note("case-1", NoteKind.DRAFT, written_by="tang")
    assert draft is not None
    assert "第一版" in draft.content


def test_only_what_the_page_for_checking_showed_is_signed(desk: Desk):
    client = a_client(desk, "tang")
    csrf = csrf_of(client)
    client.post("/cases/case-1/check", data=a_form(csrf=csrf))
    client.post("/cases/case-1/draft", data=a_form(csrf=csrf, version=1, recommendation="另一窗口"))

    assert client.post("/cases/case-1/sign", data={"csrf": csrf, "version": 1, "password": PASSWORD}).status_code == 409
    assert desk.records.find_review("case-1") is None


def test_a_wrong_password_signs_nothing(desk: Desk):
    client = a_client(desk, "tang")

    refused = sign(client, password="not the password")

    assert refused.status_code == 401
    assert "未签署" in refused.text
    assert desk.records.find_review("case-1") is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"right_labels": []}, "右眼：请选择结论"),
        ({"left_labels": ["N", "A"]}, "未见明显异常"),
        ({"right_ungradable": "retake"}, "无法判读的眼不能同时有结论"),
        ({"right_grade": "2"}, "糖网分级须同时勾选"),
        ({"urgency": "recall"}, "须填写理由"),
        ({"urgency": ""}, "请选择紧急程度"),
        ({"recommendation": " "}, "请填写建议"),
        ({"right_labels": ["ZZ"]}, "未知结论"),
    ],
)
def test_a_form_that_says_too_little_or_contradicts_itself_cannot_be_signed(desk: Desk, changes: dict[str, object], said: str):
    client = a_client(desk, "tang")

    refused = sign(client, **changes)

    assert refused.status_code == 422
    assert said in refused.text
    assert desk.records.find_review("case-1") is None


def test_less_urgent_with_a_reason_is_signed_with_the_reason(desk: Desk):
    sign(a_client(desk, "tang"), urgency="recall", urgency_reason="陈旧病灶，已随访三年")

    review = desk.records.find_review("case-1")
    assert review is not None
    assert (review.urgency, review.urgency_reason) == (Urgency.RECALL, "陈旧病灶，已随访三年")


def test_an_eye_that_cannot_be_read_is_never_normal_in_the_review(desk: Desk):
    sign(a_client(desk, "tang"), left_labels=[], left_ungradable="refer")

    review = desk.records.find_review("case-1")
    assert review is not None
    assert review.conclusion.endswith("左眼：照片无法判读，建议转诊检查")


def test_blind_first_nothing_of_the_ai_is_anywhere_before_the_own_reading(tmp_path: Path):
    desk = a_desk(tmp_path, is_blind_first=True)
    client = a_client(desk, "tang")
    csrf = csrf_of(client)
    client.post("/cases/case-1/hold", data={"csrf": csrf})
    page = client.get("/cases/case-1").text

    assert "AI 判读" not in page
    assert "/evidence/" not in page
    assert "selected>紧急" not in page
    assert 'class="urgency' not in client.get("/").text
    assert client.get("/cases/case-1/evidence/case-1-1").status_code == 403
    assert client.get("/cases/case-1/why").status_code == 403
    assert client.post("/cases/case-1/blind", data=a_form(csrf=csrf, right_labels=[], left_labels=[])).status_code == 422
    shown = client.post("/cases/case-1/blind", data=a_form(csrf=csrf, version=1, right_labels=["G"], urgency=""))
    assert "AI 判读" in shown.text
    assert client.get("/cases/case-1/evidence/case-1-1").status_code == 200
    sign(client, version=3)
    review = desk.records.find_review("case-1")
    assert review is not None
    assert review.blind_eyes is not None
    assert review.blind_eyes[0].labels == ("G",)
    assert review.eyes[0].labels == ("A",)


def test_where_two_must_sign_the_same_doctor_cannot_and_another_can(tmp_path: Path):
    desk = a_desk(tmp_path, needs_two=True)
    first, second = a_client(desk, "tang"), a_client(desk, "song")
    sign(first, urgency="recall", urgency_reason="陈旧")

    assert desk.records.find_review("case-1") is None
    assert "待第二医生" in first.get("/").text
    assert sign(first, urgency="recall", urgency_reason="陈旧", version=2).status_code == 403
    first.post("/cases/case-1/release", data={"csrf": csrf_of(first)})
    assert "唐医生" in second.post("/cases/case-1/hold", data={"csrf": csrf_of(second)}).text
    sign(second, urgency="recall", urgency_reason="同意，陈旧")
    review = desk.records.find_review("case-1")
    assert review is not None
    assert (review.doctor_name, review.second_doctor_name) == ("宋医生", "唐医生")


def test_no_doctors_name_stands_under_words_of_another(tmp_path: Path):
    desk = a_desk(tmp_path, needs_two=True)
    first, second = a_client(desk, "tang"), a_client(desk, "song")
    sign(first, urgency="recall", urgency_reason="陈旧")
    sign(second, right_labels=["A", "G"])

    review = desk.records.find_review("case-1")
    assert review is not None
    assert (review.doctor_name, review.second_doctor_name, review.urgency) == ("宋医生", None, Urgency.URGENT)


def test_a_signed_case_takes_no_second_review_only_addenda_that_stand_in_the_page(desk: Desk):
    client = a_client(desk, "tang")
    csrf = csrf_of(client)
    sign(client)
    assert sign(client).status_code == 409
    assert client.post("/cases/case-1/addenda", data={"csrf": csrf, "text": "左眼亦有渗出"}).status_code == 404
    add_report(desk, "case-1")

    added = client.post("/cases/case-1/addenda", data={"csrf": csrf, "text": "左眼亦有渗出"})

    assert "左眼亦有渗出" in added.text
    assert "左眼亦有渗出" in desk.reports.files.read("reports/case-1.html").decode()
    assert 'id="review"' not in added.text
    assert "左眼亦有渗出" in desk.records.get_case_record("case-1").outbox[-1].body.decode()


def test_a_patients_link_opens_the_report_until_it_is_over_or_revoked(desk: Desk):
    client, patient = a_client(desk, "tang"), a_client(desk)
    csrf = csrf_of(client)
    sign(client)
    add_report(desk, "case-1")
    made = client.post("/cases/case-1/links", data={"csrf": csrf}).text
    token = made.partition("/r/")[2].partition("<")[0]

    opened = patient.get(f"/r/{token}")
    assert "年龄相关性黄斑变性" in opened.text
    kept = [opened.headers[name] for name in ("x-robots-tag", "cache-control", "referrer-policy")]
    assert kept == ["noindex, nofollow", "no-store", "no-referrer"]
    assert "case-1" not in token
    assert token not in client.get("/cases/case-1").text
    assert patient.get(f"/r/{token}x").status_code == 404
    clock = desk.now
    assert isinstance(clock, Clock)
    clock.ahead = timedelta(days=31)
    assert patient.get(f"/r/{token}").status_code == 404
    clock.ahead = timedelta()
    client.post("/cases/case-1/links/revoke", data={"csrf": csrf})
    assert patient.get(f"/r/{token}").status_code == 404


def test_why_this_report_goes_from_the_message_to_the_delivery(desk: Desk):
    client = a_client(desk, "qin")
    sign(a_client(desk, "tang"))
    add_report(desk, "case-1")

    page = client.get("/cases/case-1/why").text

    for word in ("message-of-case-1", "eye-dx-fundus v3", "唐医生", "template/1", "sha256", "eye_dx_reports"):
        assert word in page


def test_why_this_report_leads_to_the_runs_that_made_it_and_says_where_there_was_none(tmp_path: Path):
    desk = a_desk(tmp_path, dagster="http://127.0.0.1:3000")
    desk.records.add_case(a_case("case-2"), b"raw", run_id="0f3c-drain")
    desk.records.add_diagnosis(with_evidence(a_diagnosis("case-2"), "case-2"), [], run_id="1a2b-read")
    client = a_client(desk, "qin")

    by_runs, by_hand = (client.get(f"/cases/{case_id}/why").text for case_id in ("case-2", "case-1"))

    for run in ("0f3c-drain", "1a2b-read"):
        assert f'href="http://127.0.0.1:3000/runs/{run}"' in by_runs
    assert by_hand.count("无运行记录") == 2
    assert "/runs/" not in by_hand


def test_earlier_screenings_of_the_patient_stand_beside_the_case(desk: Desk):
    sign(a_client(desk, "tang"))
    add_case(desk, "case-2")

    page = a_client(desk, "tang").get("/cases/case-2").text

    assert "/cases/case-1" in page
    assert "右眼：年龄相关性黄斑变性" in page


def test_no_name_phone_or_path_of_a_patient_is_on_a_page_of_the_desk(desk: Desk):
    client = a_client(desk, "tang")
    client.post("/cases/case-1/hold", data={"csrf": csrf_of(client)})

    for path in ("/", "/cases/case-1", "/cases/case-1/why"):
        assert not any(word in client.get(path).text for word in ("测试甲", "13800138000", "visit/OD"))


def test_every_text_is_there_in_both_languages(desk: Desk):
    assert all(zh.strip() and en.strip() for zh, en in (*TEXTS.values(), *SNIPPETS))
    client = a_client(desk, "tang")
    client.post("/language", data={"lang": "en", "back": "/"})
    page = client.get("/cases/case-1").text
    assert '<html lang="en">' in page
    assert "AI reading (not reviewed)" in page
    assert client.post("/language", data={"lang": "zh", "back": "//evil.example"}, follow_redirects=False).headers["location"] == "/"


def test_roles_are_those_of_the_accounts():
    assert {role for roles in ALLOWED.values() for role in roles} | {Role.ADMIN} == set(Role)


def test_the_desk_never_loads_torch():
    code = "import sys, eye_dx_review.__main__, eye_dx_review.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_text_is_there_that_nobody_reads():
    package = Path(eye_dx_review.__file__).parent
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".jinja") and path.name != "texts.py"]
    read = "".join(path.read_text(encoding="utf-8") for path in sources)
    by_code = {*Problem, *Ungradable, *(f"{stage}_stage" for stage in CaseStage)}
    told = {f"{what}_{part}" for what in re.findall(r'said\(request, "(\w+)"', read) for part in ("title", "text")}

    assert [key for key in TEXTS if key not in by_code | told and not re.search(rf'["\']{key}["\']', read)] == []
