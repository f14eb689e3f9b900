"""What we need of a language model; the template writer needs none of it."""

from typing import Protocol

from eye_dx_core.errors import BadReport
from eye_dx_core.schema.frozen import Frozen
from eye_dx_core.schema.report import TokenUsage


class ChatAnswer(Frozen):
    """What came back: one JSON object, not yet checked against any schema, and what it cost where the endpoint says so."""

    content: dict[str, object]
    tokens: TokenUsage | None = None


class UselessAnswer(BadReport):
    """An answer that holds no JSON object. Its text is one code, such as `refusal` or `cut_off`; it has cost tokens all the same."""

    def __init__(self, code: str, tokens: TokenUsage | None = None) -> None:
        """Keep the cost beside the code."""
        super().__init__(code)
        self.tokens = tokens


class ChatModel(Protocol):
    """A chat model that answers a system and a user text with one JSON object.

    Raises `ChatModelUnavailable` when the endpoint does not answer or is overloaded, and `UselessAnswer` when it refuses,
    is cut off or answers with something that is no JSON object.
    """

    name: str

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> ChatAnswer:
        """Return the answer; it is not yet checked against the schema."""
        ...
