"""Starts report runs when reviews wait."""

import dagster as dg

from eye_dx_core.queue.port import Queue
from eye_dx_core.records.port import Records
from eye_dx_core.settings import Settings
from eye_dx_dagster.defs.diagnosis.sensors import INTERVAL_SECONDS, request_run_when
from eye_dx_dagster.defs.reports.jobs import report_job


@dg.sensor(job=report_job, minimum_interval_seconds=INTERVAL_SECONDS, default_status=dg.DefaultSensorStatus.RUNNING)
def review_sensor(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    queue: dg.ResourceParam[Queue],
    records: dg.ResourceParam[Records],
) -> list[dg.RunRequest] | dg.SkipReason:
    """Start a report run when reviews wait on a queue, or reviewed cases wait for their report."""

    def waiting() -> dict[str, int]:
        depths = {name: queue.depth(name) for name in settings.queue_names.review_queues}
        return depths | {"unreported": int(records.find_work().to_report)}

    return request_run_when(context, report_job, waiting)
