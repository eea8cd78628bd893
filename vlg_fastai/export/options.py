"""The options of export.py."""

from dataclasses import dataclass

from vlg_fastai.limits import NewFolder, Positive
from vlg_fastai.parts import Cache, Chosen


@dataclass(frozen=True)
class ExportConfig(Cache, Chosen):
    "Export a run as ONNX with preprocessing, self-test, model card and a Gradio app."

    # == Everyday ==
    out: NewFolder | None = None  # output folder; default: export/ and the run's name
    space: bool = False  # add the header that makes the folder a Hugging Face Space
    hub: str | None = None  # upload to the Hugging Face Hub as USER/NAME
    fp16: bool = False  # store the weights of model.onnx in half precision

    # == Contents ==
    onnx: bool = True  # write model.onnx with self-test and app; --no-onnx: only timm's layout
    samples: Positive = 12  # held-out photos to include for the self-test
    # include them with --hub or --space too; without it, these get generated pictures
    with_samples: bool = False
