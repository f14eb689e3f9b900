"""The forward pass by OpenVINO (extra `openvino`): exported once from a checkpoint, in bfloat16 or quantised to int8."""

import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from eye_dx_core.errors import BadSettings
from eye_dx_core.inference.engines.port import Answer
from eye_dx_core.model.vit import FundusVit
from eye_dx_core.schema.engine import EngineName

FILES = ("model.xml", "model.bin")
ENGINES = (EngineName.OPENVINO_BFLOAT16, EngineName.OPENVINO_INT8)
_MISSING = "OpenVINO is not installed: pip install 'eye-dx[openvino]'"
_log = logging.getLogger(__name__)


class OpenVinoEngine:
    """The port `Engine`, reading what `export_model` wrote."""

    def __init__(self, folder: Path, name: EngineName) -> None:
        """Compile the model for this machine.

        Raises:
            BadSettings: see `require_version`.
        """
        require_version()
        self.name, core = name, _import_openvino().Core()
        compiled = core.compile_model(
            core.read_model(folder / FILES[0]),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16",
                "PERFORMANCE_HINT": "LATENCY",  # one batch at a time, with all threads
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            },
        )
        self._request = compiled.create_infer_request()

    def read(self, batch: torch.Tensor) -> Answer:
        """See the port."""
        said = self._request.infer([batch.numpy()])
        # The arrays belong to the request, which overwrites them the next time.
        logits, pooled = (torch.from_numpy(np.array(said[place], dtype=np.float32)) for place in range(2))
        return Answer(logits, pooled)


class _LogitsAndPooled(nn.Module):
    """What is exported."""

    def __init__(self, model: FundusVit) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The two parts of `Answer`."""
        pooled = self.model.pool_patches(self.model.features(batch))
        return self.model.logits_from_pooled(pooled), pooled


def require_version() -> str:
    """The installed version, on a processor that it is of use for.

    Raises:
        BadSettings: the extra is not installed, or the processor does not compute in bfloat16.
    """
    openvino = _import_openvino()
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        # It would compute in single precision, which is hardly faster than torch and not what was judged.
        raise BadSettings("this processor has no bfloat16, so OpenVINO gains nothing")
    return str(openvino.__version__)


def find_version() -> str | None:
    """The same; None where it is of no use, with a line in the log that says why."""
    try:
        return require_version()
    except BadSettings as error:
        _log.warning("exported engines are not used: %s", error)
        return None


def export_model(model: FundusVit, folder: Path, engine: EngineName, *, photos: Sequence[torch.Tensor]) -> None:
    """Write the model, of single precision and on the CPU, as OpenVINO's two files.

    Args:
        model: in evaluation mode.
        folder: made if need be.
        engine: one of `ENGINES`.
        photos: normalised training photographs (1, rgb, size, size), by which int8 finds the ranges of its numbers.

    Raises:
        BadSettings: the extra is not installed.
    """
    openvino = _import_openvino()
    example = torch.zeros(2, 3, *model.trunk.patch_embed.img_size)
    program = torch.export.export(_LogitsAndPooled(model).eval(), (example,), dynamic_shapes=({0: torch.export.Dim("photo")},))
    exported = openvino.convert_model(program)
    if engine is EngineName.OPENVINO_INT8:
        exported = _quantise(exported, photos)
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(exported, folder / FILES[0], compress_to_fp16=False)


def _quantise(exported: object, photos: Sequence[torch.Tensor]) -> object:
    """Post-training quantisation with SmoothQuant, which evens out the wide activations of transformers (Xiao et al., ICML 2023)."""
    try:
        nncf = import_module("nncf")  # in a way that type checkers need not find it
    except ImportError:
        raise BadSettings("NNCF is not installed: pip install 'eye-dx[openvino]'") from None
    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset([one.numpy() for one in photos])
    with redirect_stdout(sys.stderr):  # its progress bars would stand in the middle of JSON
        return nncf.quantize(exported, data, subset_size=len(photos), model_type=nncf.ModelType.TRANSFORMER)


def _import_openvino() -> ModuleType:
    """OpenVINO without its messages home: it and NNCF tell Google Analytics that they were imported, unless this is missing.

    Raises:
        BadSettings: the extra is not installed.
    """
    sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType] - how Python spells "cannot be imported"
    try:
        import openvino
    except ImportError:
        raise BadSettings(_MISSING) from None
    return openvino
