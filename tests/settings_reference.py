"""The page of all settings, made from the settings themselves: `python -m tests.settings_reference`."""

from enum import Enum
from pathlib import Path

from pydantic.fields import FieldInfo

from eye_dx_core.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_HEAD = """# Settings

Environment variables, or lines of a file `.env` in the folder where a command starts. Made from `eye_dx_core/settings.py`.

| variable | default | |
|---|---|---|
"""


def page() -> str:
    """The whole text."""
    return _HEAD + "".join(f"| `EYE_DX_{name.upper()}` | {_default(one)} | {_cell(one)} |\n" for name, one in Settings.model_fields.items())


def _default(field: FieldInfo) -> str:
    value = field.get_default()
    if value is None or value == () or not isinstance(value, str | int | float | Enum):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(field: FieldInfo) -> str:
    assert field.description, f"{field} is not described"
    return field.description.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
