"""A chat model that says what it was given to say: for tests and for trying the report rules out."""

from eye_dx_core.errors import EyeDxError
from eye_dx_core.reporting.language_model.port import ChatAnswer
from eye_dx_core.schema.report import TokenUsage


class ScriptedChatModel:
    """The port `ChatModel` with answers written beforehand; an error among them is raised. The last one repeats."""

    name = "scripted/1"

    def __init__(
        self, answer: dict[str, object] | EyeDxError, *more: dict[str, object] | EyeDxError, tokens: TokenUsage | None = None
    ) -> None:
        """Take the answers in their order, and what each of them costs."""
        self._answers, self._tokens = [answer, *more], tokens
        self.asked: list[tuple[str, str]] = []
        """System and user text of every question so far."""

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> ChatAnswer:
        """See the port."""
        self.asked.append((system, user))
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, EyeDxError):
            raise answer
        return ChatAnswer(content=answer, tokens=self._tokens)
