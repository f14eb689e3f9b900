"""What this process has learnt of a language model's endpoint, and whether an address lies in the house."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

_OWN_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc")


@dataclass
class Habits:
    """How an endpoint likes to be asked. Learnt from its refusals, so that each costs one request and not one a report."""

    rung: int = 0
    """Which way to JSON worked last: 0 schema, 1 object, 2 plain text."""
    refused: set[str] = field(default_factory=set)
    """Parameters that it answered with HTTP 400."""

    def without_refused(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters that may be sent. Where `max_tokens` is refused, its newer name is sent instead."""
        if "max_tokens" in parameters and "max_tokens" in self.refused:
            parameters = parameters | {"max_completion_tokens": parameters["max_tokens"]}
        return {name: value for name, value in parameters.items() if name not in self.refused}


@lru_cache(maxsize=64)
def habits_of(base_url: str, model: str) -> Habits:
    """The one memory of an endpoint and model in this process."""
    return Habits()


def is_in_the_house(base_url: str) -> bool:
    """Whether an address is this machine's or the own network's, by what it says itself: no name is looked up.

    A name without a dot (a service of the same container network) and the suffixes reserved for private networks are taken at
    their word. A number written as a name is not: resolvers read `134744072` as a public address.
    """
    host = (urlsplit(base_url).hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        is_plain_name = re.fullmatch(r"[a-z]([a-z0-9_-]*[a-z0-9])?", host) is not None
        return is_plain_name or (host.endswith(_OWN_SUFFIXES) and re.search(r"[a-z]", host) is not None)
    return address.is_loopback or (address.is_private and not address.is_unspecified)
