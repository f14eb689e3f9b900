"""YAML files in which a clinic writes its own rules."""

from pathlib import Path
from typing import Any

import yaml

from eye_dx_core.errors import BadSettings


def read_rule_file(path: Path, *, setting: str) -> object:
    """What stands in a YAML file.

    Args:
        path: the file.
        setting: the variable that named it, for the error's text.

    Raises:
        BadSettings: it cannot be read, is no YAML in UTF-8, or holds a key twice.
    """
    try:
        return _OnceEach(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, RecursionError) as error:
        raise BadSettings(f"{setting} is no YAML: {error}") from None
    except (OSError, UnicodeDecodeError):
        raise BadSettings(f"{setting} names no readable file in UTF-8") from None


class _OnceEach(yaml.SafeLoader):
    """YAML would let the second of two equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - yaml's signature
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is written twice", node.start_mark)
        return super().construct_mapping(node, deep)
