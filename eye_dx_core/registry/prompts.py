"""A prompt kept in MLflow's prompt registry: whoever writes there decides what the language model is told, by moving an alias."""

import logging

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

PROMPT_ALIAS = "production"
_log = logging.getLogger(__name__)


def find_prompt(tracking_uri: str, name: str) -> tuple[str, str] | None:
    """Version and text of the prompt that carries the alias `production`; None where there is none.

    A registry that does not answer is no reason to write no report, so that is None too, and logged.
    """
    try:
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        found = client.get_prompt_version_by_alias(name, PROMPT_ALIAS)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            _log.warning("the prompt registry did not answer (%s); the shipped prompt is used", error.error_code)
        return None
    except Exception as error:  # noqa: BLE001 - its client lets through whatever its database and HTTP libraries raise
        _log.warning("the prompt registry did not answer (%s); the shipped prompt is used", type(error).__name__)
        return None
    if not isinstance(found.template, str) or "json" not in found.template.lower():
        # Several providers refuse a question that asks for JSON and never says so.
        _log.warning("version %s of the prompt %s is no text that asks for JSON; the shipped prompt is used", found.version, name)
        return None
    return f"mlflow/{name}/{found.version}", found.template
