"""The Celery application that the launcher sends to and the workers listen with: both must see the same queues."""

from celery import Celery
from kombu.entity import Queue

from eye_dx_dagster.cluster.queues import QUEUES

HEARTBEAT_SECONDS = 10
"""A machine that lost its power is noticed by RabbitMQ after two of these; a process that died, at once."""
_HIGHEST_PRIORITY = 10
_TASKS_PER_PROCESS = 500


def configure(app: Celery) -> Celery:
    """Our queues and settings on an application that dagster-celery made."""
    app.conf.update(
        # As dagster-celery declares its own: RabbitMQ refuses whoever declares a queue differently.
        task_queues=[
            Queue(name, routing_key=f"{name}.#", queue_arguments={"x-max-priority": _HIGHEST_PRIORITY}, durable=True) for name in QUEUES
        ],
        # A message is acknowledged when its run is over. So RabbitMQ hands a run to a worker only when that has a free place, and
        # gives what a dead worker had to another.
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        task_ignore_result=True,
        broker_heartbeat=HEARTBEAT_SECONDS,
        broker_connection_retry_on_startup=True,
        worker_max_tasks_per_child=_TASKS_PER_PROCESS,  # leaks of any library end with the process; a new one loads the champion again
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
    )
    return app
