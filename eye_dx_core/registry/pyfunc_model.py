"""The model as MLflow serves it: code and safetensors, no pickle. MLflow runs this file when it loads the model."""

from pathlib import Path

import numpy as np
import torch
from mlflow.artifacts import download_artifacts
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

from eye_dx_core.model.checkpoint import load_checkpoint


class FundusModel(PythonModel):
    """Calibrated probabilities for prepared squares; the labels, in order, are in the card."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint that was logged with this file."""
        trunk = (context.model_config or {}).get("trunk")
        self._checkpoint = load_checkpoint(Path(context.artifacts["checkpoint"]), trunk=Path(download_artifacts(trunk)) if trunk else None)

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride] - MLflow looks at the names of its parameters
        self, context: PythonModelContext, model_input: NDArray[np.uint8], params: dict[str, object] | None = None
    ) -> NDArray[np.float32]:
        """Squares (photo, size, size, rgb) in 0 to 255, cropped to the field of view, to probabilities (photo, label)."""
        with torch.inference_mode():
            logits = self._checkpoint.model(self._checkpoint.card.preprocess.to_batch(model_input))
            return self._checkpoint.probabilities(logits).numpy()


set_model(FundusModel())
