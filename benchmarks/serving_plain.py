"""What `benchmarks/serving.py` compares with: a plain FastAPI handler with PyTorch.

    python benchmarks/serving_plain.py PORT

One function that takes an upload and predicts it with the bundled model `photo`, in the threads
that FastAPI has for such functions. Views and network are those of ``fashioncnn serve``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, UploadFile

from fashioncnn.inference.inputs import load_views
from fashioncnn.inference.predictor import Predictor
from fashioncnn.inference.sources import ImageSource
from fashioncnn.loading import open_model
from fashioncnn.reporting.predictions import to_record


def create_app(predictor: Predictor) -> FastAPI:
    """Return the application."""
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> str:
        return "ok"

    @app.post("/v1/predict")
    def predict(images: UploadFile) -> dict[str, Any]:
        source = ImageSource("image", images.file.read())
        loaded = load_views(source, predictor.spec.preprocessing)
        (prediction,) = predictor.predict_loaded([loaded])
        if prediction.error:
            raise HTTPException(422, prediction.error)
        return to_record(prediction, predictor.spec.labels, 3)

    return app


def main() -> None:
    """Serve until a signal."""
    predictor = open_model(Path("photo"), "torch").predictor
    uvicorn.run(create_app(predictor), port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
