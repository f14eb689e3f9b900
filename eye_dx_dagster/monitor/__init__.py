"""The process that Prometheus and probes ask: `python -m eye_dx_dagster.monitor`."""
