"""The model as MLflow serves it: code and safetensors, no pickle. MLflow runs this file when it loads the model."""

from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from numpy.typing import NDArray

from eye_dx_core.model.checkpoint import load_checkpoint


class FundusModel(PythonModel):
    """Calibrated probabilities for prepared squares; the labels, in order, are in the card."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint that was logged with this file."""
        self._checkpoint = load_checkpoint(Path(context.artifacts["checkpoint"]))

    def predict(
        self, context: PythonModelContext, model_input: NDArray[np.uint8], params: dict[str, object] | None = None
    ) -> NDArray[np.float32]:
        """Squares (photo, size, size, rgb) in 0 to 255, cropped to the field of view, to probabilities (photo, label)."""
        with torch.inference_mode():
            logits = self._checkpoint.model(self._checkpoint.card.preprocess.to_batch(model_input))
            return self._checkpoint.probabilities(logits).numpy()


mlflow.models.set_model(FundusModel())
