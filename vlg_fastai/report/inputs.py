"""What every report is made from, in one object."""

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
    "Held-out predictions, the folder to write to, the photos, the model; None what is not needed."

    held: HeldOut | None
    folder: Path
    data: Path
    explainer: "Explainer | None" = None
    run_features: "RunFeatures | None" = None
    run: Run | None = None
    lacking: str = ""  # why there are no features where the page would have used some

    def photo(self, file):
        "Where a photo of the run lies."
        return place(self.data, file)

    def photos(self, files):
        return [self.photo(file) for file in files]
