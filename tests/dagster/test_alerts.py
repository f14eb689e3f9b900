"""The sensor that calls somebody: off by default, harmless when the webhook fails, and watching the machinery as well."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster_shared.error import SerializableErrorInfo

from eye_dx_core import alerts as core
from eye_dx_core import wiring
from eye_dx_core.errors import ServiceUnavailable
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.housekeeping.alerts import alert_sensor, failing
from tests.core.test_alerts import OneOverdue
from tests.webhook import Fault, Webhook, a_webhook

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(core, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(wiring, "open_records", lambda _: OneOverdue())
    with a_webhook() as opened:
        yield opened


def tick(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> tuple[str, str | None]:
    """What the tick says, and the cursor it leaves."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"settings": settings})
    said = alert_sensor(context)
    assert isinstance(said, dg.SkipReason)
    return said.skip_message or "", context.cursor


def settings_with(webhook: Webhook, folder: Path) -> Settings:
    return Settings.model_validate({"state_dir": folder, "queue_url": "memory://", "alert_webhook": webhook.url})


def test_without_an_address_nobody_is_called(tmp_path: Path):
    with dg.instance_for_test() as instance:
        assert "nobody is called" in tick(Settings(state_dir=tmp_path), instance)[0]


def test_an_overdue_case_is_told_once(webhook: Webhook, tmp_path: Path):
    settings = settings_with(webhook, tmp_path)

    with dg.instance_for_test() as instance:
        _, cursor = tick(settings, instance)
        said, _ = tick(settings, instance, cursor)

    assert said == "1 causes, 1 calls so far"
    assert [call["causes"][0]["ids"] for call in webhook.calls] == [["case-1"]]


def test_a_webhook_that_fails_is_said_by_the_tick_and_called_by_the_next(webhook: Webhook, tmp_path: Path):
    settings = settings_with(webhook, tmp_path)
    webhook.faults += [Fault.BROKEN] * 3

    with dg.instance_for_test() as instance:
        said, cursor = tick(settings, instance)
        later, _ = tick(settings, instance, cursor)

    assert "did not take the call (status 500, 3 tries); the next look tries again" in said
    assert "token" not in said
    assert later == "1 causes, 1 calls so far"


def test_a_database_that_is_down_is_a_cause_and_ends_no_other(webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = settings_with(webhook, tmp_path)

    def refuse(_: Settings) -> OneOverdue:
        raise ServiceUnavailable("the records did not answer")

    with dg.instance_for_test() as instance:
        _, cursor = tick(settings, instance)
        monkeypatch.setattr(wiring, "open_records", refuse)
        _, cursor = tick(settings, instance, cursor)
        monkeypatch.setattr(wiring, "open_records", lambda _: OneOverdue())
        tick(settings, instance, cursor)

    assert [[one["kind"] for one in call["causes"]] for call in webhook.calls] == [["overdue_urgent"], ["service_unavailable"]]


def test_a_job_is_failing_until_a_run_of_it_succeeds():
    breaks = {"now": True}

    @dg.op
    def break_sometimes() -> None:
        if breaks["now"]:
            raise dg.Failure("as told")

    @dg.job
    def broken_job() -> None:
        break_sometimes()

    with dg.instance_for_test() as instance:
        broken_job.execute_in_process(instance=instance, raise_on_error=False)
        assert failing(instance) == (core.Cause(kind="failed_run", id="broken_job"),)
        breaks["now"] = False
        broken_job.execute_in_process(instance=instance)
        assert failing(instance) == ()


def test_a_sensor_is_failing_after_three_failed_ticks_in_a_row():
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "ours"), "inbox_sensor")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    seen: list[tuple[core.Cause, ...]] = []

    with dg.instance_for_test() as instance:
        instance.add_instigator_state(state)
        for second, status in enumerate((TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.SKIPPED)):
            instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name=state.name,
                    instigator_type=InstigatorType.SENSOR,
                    status=status,
                    error=SerializableErrorInfo("as told", [], None) if status is TickStatus.FAILURE else None,
                    timestamp=float(second),
                    selector_id=state.selector_id,
                )
            )
            seen.append(failing(instance))

    assert seen == [(), (), (core.Cause(kind="failed_sensor", id="inbox_sensor"),), ()]
