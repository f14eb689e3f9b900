"""A chat model that says what it was given to say: for tests and for trying the report rules out."""

from eye_dx_core.errors import EyeDxError


class ScriptedChatModel:
    """The port `ChatModel` with answers written beforehand; an error among them is raised. The last one repeats."""

    name = "scripted/1"

    def __init__(self, answer: dict[str, object] | EyeDxError, *more: dict[str, object] | EyeDxError) -> None:
        """Take the answers in their order."""
        self._answers = [answer, *more]
        self.asked: list[tuple[str, str]] = []
        """System and user text of every question so far."""

    def complete_json(self, *, system: str, user: str, json_schema: dict[str, object]) -> dict[str, object]:
        """See the port."""
        self.asked.append((system, user))
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        if isinstance(answer, EyeDxError):
            raise answer
        return answer
