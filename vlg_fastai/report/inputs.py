"""Everything that reports are made from, in one object."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlg_fastai.data.listing import place
from vlg_fastai.runs.predictions import HeldOut
from vlg_fastai.runs.run import Run

if TYPE_CHECKING:
    from vlg_fastai.report.gradcam import Explainer
    from vlg_fastai.unseen.features import RunFeatures


@dataclass(frozen=True)
class ReportInputs:
    "Held-out predictions, the folder to write to, the photos, the model; None where not needed."

    held: HeldOut | None
    folder: Path
    data: Path
    explainer: "Explainer | None" = None
    run_features: "RunFeatures | None" = None
    run: Run | None = None
    lacking: str = ""  # why features are missing where the page would have used them

    def photo(self, file):
        "The path of a photo of the run."
        return place(self.data, file)

    def photos(self, files):
        return [self.photo(file) for file in files]
