"""The desk as a doctor meets it: in Chromium, by mouse and keyboard."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from eye_dx_core.schema.routing import Urgency
from eye_dx_review.app import create_app
from eye_dx_review.desk import Desk
from tests.review.desks import PASSWORD, a_client, a_desk, add_case, add_report, csrf_of

pytestmark = pytest.mark.browser
_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return a_desk(tmp_path)


@pytest.fixture
def address(desk: Desk) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(desk), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def page(address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    if _CHROMIUM is None:
        if os.environ.get("EYE_DX_REQUIRE_SERVICES") == "1":
            pytest.fail("there is no Chromium, and EYE_DX_REQUIRE_SERVICES=1")
        pytest.skip("there is no Chromium")
    options = getattr(request, "param", {})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(base_url=address, locale="zh-CN", viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(15_000)
        page = context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if _is_fault(said.text) else None)
        page.goto("/login")
        page.get_by_label("用户名").fill("tang")
        page.get_by_label("密码").fill(PASSWORD)
        page.get_by_role("button", name="登录").click()
        yield page
        assert faults == []
        browser.close()


def _is_fault(said: str) -> bool:
    """The viewer's library tries one inline style, which is refused and not missed; anything else would be ours."""
    return "Content Security Policy" in said and "inline style" not in said


def axe_faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def test_a_doctor_reads_both_eyes_by_keyboard_and_signs_and_the_report_is_written(page: Page, desk: Desk):
    page.get_by_role("button", name="打开").click()
    right = page.locator(".viewer").first
    right.locator("canvas").first.wait_for()
    page.locator(".viewer[data-layer=ready]").wait_for()

    before = right.screenshot()
    page.keyboard.press("h")
    page.wait_for_timeout(400)
    assert right.screenshot() != before
    zooms: list[float] = []
    for _ in range(2):
        page.keyboard.press("+")
        page.wait_for_timeout(600)
        zooms.append(float(right.get_attribute("data-zoom") or 0))
    assert zooms[1] > 1.2 * zooms[0] > 0
    page.keyboard.press("g")
    assert page.get_by_role("button", name="无赤光").first.get_attribute("aria-pressed") == "true"
    page.keyboard.press("1")
    page.keyboard.press("w")
    page.keyboard.press("6")
    page.get_by_label("常用建议").select_option(index=4)
    page.get_by_text("草稿已保存").wait_for()
    page.keyboard.press("Control+Enter")

    page.get_by_text("右眼：年龄相关性黄斑变性；左眼：未见明显异常").wait_for()
    assert desk.records.find_review("case-1") is None
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="签署").click()
    page.get_by_text("只读").wait_for()
    review = desk.records.find_review("case-1")
    assert review is not None
    assert (review.urgency, review.recommendation) == (Urgency.URGENT, "请于2周内到眼科专科就诊。")
    add_report(desk, "case-1")
    page.reload()
    page.get_by_role("button", name="生成链接").click()
    page.goto(page.locator("code", has_text="/r/").inner_text())
    assert "年龄相关性黄斑变性" in page.inner_text("body")


def test_a_draft_that_another_window_saved_is_not_overwritten(page: Page, desk: Desk):
    page.get_by_role("button", name="打开").click()
    other = a_client(desk, "tang")
    other.post("/cases/case-1/draft", data={"csrf": csrf_of(other), "version": 0, "recommendation": "另一窗口"})

    page.get_by_label("建议（逐字写入报告）").fill("此窗口")

    page.get_by_text("表单已在别处更改").wait_for()
    page.get_by_role("button", name="核对并签署").click()
    page.get_by_text("另一窗口", exact=True).wait_for()
    assert page.get_by_text("此窗口", exact=True).is_visible()


@pytest.mark.parametrize("page", [{"java_script_enabled": False}], indirect=True)
def test_the_form_works_without_a_script(page: Page, desk: Desk):
    page.get_by_role("button", name="打开").click()
    page.locator("input[name=right_labels][value=A]").check()
    page.locator("input[name=left_labels][value=N]").check()
    page.get_by_label("建议（逐字写入报告）").fill("请于2周内到眼科专科就诊。")
    page.get_by_role("button", name="核对并签署").click()
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="签署").click()
    page.get_by_text("只读").wait_for()
    assert desk.records.find_review("case-1") is not None


def test_the_list_shows_a_new_case_without_a_reload(page: Page, desk: Desk):
    page.get_by_role("heading", name="待阅列表").click()
    add_case(desk, "case-2")

    page.get_by_role("link", name="case-2").wait_for()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_page_shuts_anybody_out(page: Page, desk: Desk, lang: str):
    if lang == "en":
        page.get_by_role("button", name="English").click()
    faults = {"list": axe_faults(page)}
    page.locator("#rows button").click()
    page.locator(".viewer canvas").first.wait_for()
    faults["case"] = axe_faults(page)
    page.locator("#to-sign").click()
    page.locator(".problem").wait_for()
    faults["problems"] = axe_faults(page)
    page.locator("input[name=right_labels][value=A]").check()
    page.locator("input[name=left_labels][value=N]").check()
    page.locator("textarea[name=recommendation]").fill("请于2周内到眼科专科就诊。")
    page.locator("#to-sign").click()
    page.locator("#password").wait_for()
    faults["sign"] = axe_faults(page)
    for name, path in (("why", "/cases/case-1/why"), ("not found", "/cases/none")):
        page.goto(path)
        faults[name] = axe_faults(page)
    page.locator("header form[action='/logout'] button").click()
    faults["login"] = axe_faults(page)
    assert {name: found for name, found in faults.items() if found} == {}
