"""What may compute the model's answers."""

from enum import StrEnum


class EngineName(StrEnum):
    """A library and the numbers it computes with. Stored with each diagnosis, because two engines differ in the last digits."""

    TORCH_FLOAT32 = "torch-float32"
    TORCH_BFLOAT16 = "torch-bfloat16"
    OPENVINO_BFLOAT16 = "openvino-bfloat16"
    OPENVINO_INT8 = "openvino-int8"
