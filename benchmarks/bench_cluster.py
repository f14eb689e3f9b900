"""Two Celery workers against Dagster's own launcher, on one broker and one database: run starts a minute, and what survives killing.

Both sides are started as a user starts them (`eye-dx up` with Dagster's storage in PostgreSQL, `eye-dx cluster`), with four runs at
once. Then screenings go through the cluster, undisturbed and with a worker killed every few seconds, and are counted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from dagster_graphql import DagsterGraphQLClient

sys.path.insert(0, str(Path(__file__).parents[1]))

from eye_dx_core import wiring
from eye_dx_core.queue.topology import QueueNames
from tests.faults.cluster import Cluster
from tests.faults.installation import Installation
from tests.faults.own_servers import own_rabbit
from tests.faults.tally import count
from tests.services import own_postgres

_MOST_SECONDS = 3600
JOB = "delivery_job"  # opens queue and records, finds nothing to send: what a run costs by itself


class OneMachine(Installation):
    """`eye-dx up` as it is, but for Dagster's storage, which is where the cluster has it."""

    def __init__(self, folder: Path, queue_url: str, records_url: str, names: QueueNames) -> None:
        super().__init__(folder, queue_url, records_url, names)
        file, sqlite = self.settings.dagster_home / "dagster.yaml", "  sqlite: { base_dir: { env: DAGSTER_HOME } }\n"
        ours = file.read_text()
        assert sqlite in ours
        file.write_text(ours.replace(sqlite, "  postgres: { postgres_url: { env: EYE_DX_DAGSTER_URL } }\n"))
        wiring.make_cluster_database(self.settings)

    def command(self) -> list[str]:
        return [sys.executable, "-c", "from eye_dx_cli.main import run; run()", "up"]

    def told(self) -> dict[str, str]:
        return super().told() | self.ports | {"EYE_DX_DAGSTER_URL": self.settings.dagster_address}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--screenings", type=int, default=2000)
    parser.add_argument("--kill-seconds", type=float, default=5)
    args = parser.parse_args()
    with own_rabbit() as rabbit, tempfile.TemporaryDirectory() as name:
        rates: dict[str, float] = {}
        for side, build in (("eye-dx up", OneMachine), ("eye-dx cluster", Cluster)):
            with own_postgres() as postgres:
                installation = build(Path(name) / build.__name__, rabbit.url, postgres, QueueNames())
                try:
                    installation.start_daemon()
                    client = DagsterGraphQLClient("127.0.0.1", port_number=int(installation.ports["EYE_DX_DAGSTER_PORT"]))
                    installation.wait(lambda one=client: answers(one), 120)
                    rates[side] = start_many(client, args.runs)
                    time.sleep(20)
                    show_idle(side, installation)
                    if isinstance(installation, Cluster):
                        show_rates(rates)
                        pass_screenings(installation, args.screenings, args.kill_seconds)
                finally:
                    installation.close()


def answers(client: DagsterGraphQLClient) -> bool:
    try:
        return bool(client.submit_job_execution(JOB))
    except Exception:  # noqa: BLE001 - whatever it says while it starts
        return False


def start_many(client: DagsterGraphQLClient, runs: int) -> float:
    """Starts a minute, from the first to the last of a burst; a few runs before it are nobody's business."""
    wait_for_runs(client, [client.submit_job_execution(JOB) for _ in range(4)])
    times = wait_for_runs(client, [client.submit_job_execution(JOB) for _ in range(runs)])
    return 60 * (len(times) - 1) / (max(times) - min(times))


def wait_for_runs(client: DagsterGraphQLClient, run_ids: Sequence[str], seconds: float = 600) -> list[float]:
    """When each started, once all have ended well."""
    query = "query($ids: [String!]) { runsOrError(filter: {runIds: $ids}) { ... on Runs { results { status startTime } } } }"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found: list[dict[str, Any]] = client._execute(query, {"ids": list(run_ids)})["runsOrError"]["results"]  # noqa: SLF001 - its public methods ask run by run
        if all(one["status"] == "SUCCESS" for one in found):
            return [one["startTime"] for one in found]
        if any(one["status"] in {"FAILURE", "CANCELED"} for one in found):
            raise SystemExit("a run failed")
        time.sleep(0.5)
    raise SystemExit(f"not all runs ended within {seconds:.0f} s")


def show_rates(rates: dict[str, float]) -> None:
    first, *_ = rates.values()
    for side, rate in rates.items():
        print(f"  {side:16} {rate:6.1f} run starts a minute   {rate / first:4.1f} times", flush=True)


def show_idle(side: str, installation: Installation) -> None:
    """Memory of each process; PSS shares what forked processes have in common."""
    print(f"\n{side}, idle" + f"{'MB RSS':>20} {'MB PSS':>8}")
    total = [0.0, 0.0, 0]
    for process in installation.processes():
        memory = process.memory_full_info()
        rss, pss = memory.rss / 1e6, memory.pss / 1e6
        if rss > 10:  # shells that wait
            print(f"  {name_of(process):24} {rss:8.0f} {pss:8.0f}")
        total = [total[0] + rss, total[1] + pss, total[2] + 1]
    print(f"  {f'{total[2]} processes':24} {total[0]:8.0f} {total[1]:8.0f}\n", flush=True)


def name_of(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    marks = (
        "dagster-webserver",
        "dagster-daemon",
        "dagster api grpc",
        "eye_dx_review",
        "eye_dx_dagster.monitor",
        "mlflow",
        "worker1",
        "worker2",
    )
    return next((mark for mark in marks if mark in command), process.name())


def pass_screenings(cluster: Cluster, screenings: int, kill_seconds: float) -> None:
    published: list[str] = []
    for kill_every in (None, kill_seconds):
        sent = [cluster.send(number) for number in range(len(published), len(published) + screenings)]
        published += sent
        started = looked = time.monotonic()
        kills = 0
        while not is_done(cluster):
            if time.monotonic() - started > _MOST_SECONDS:
                raise SystemExit(f"{cluster.records.backlog()} after an hour")
            if kill_every is not None and time.monotonic() - looked >= kill_every and (workers := cluster.workers()):
                cluster.kill_worker(workers[kills % len(workers)])
                kills, looked = kills + 1, time.monotonic()
            time.sleep(0.5)
        took = time.monotonic() - started
        print(f"  {screenings} screenings in {took:.0f} s ({screenings / took:.1f} a second), {kills} workers killed", flush=True)
    results = [cluster.names.ai_results]
    tally = count(cluster.queue, cluster.records, published, result_queues=results, is_whole=lambda record: record.diagnosis)
    print(f"  of {len(published)}: {tally.lost} lost, {tally.doubled} doubled, {tally.strangers} of nobody, {tally.repeats} repeats")


def is_done(cluster: Cluster) -> bool:
    backlog = cluster.records.backlog()
    return cluster.queue.depth(cluster.names.screenings) == 0 and not backlog.undiagnosed and not backlog.unsent


if __name__ == "__main__":
    main()
