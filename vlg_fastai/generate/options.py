"""The options of generate.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vlg_fastai.limits import Amount, Count, File, Folder, Limits, NewFolder, Positive, Seed
from vlg_fastai.parts import Tabled

MODEL = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class GenerateConfig(Tabled):
    "Generate photos of rare classes, and of classes without a photo, for `train.py --extra`."

    # == Everyday ==
    data: Folder | None = None  # image folder; default: `data`, or a generated demo in `data/demo`
    out: NewFolder = Path("extra")  # output folder: photos by class, and source.csv
    # file of names of classes without photos, one per line: label, or label: prompt | synonym
    unseen: File | None = None
    count: Positive = 20  # photos to generate for each class
    rare: Count = 20  # classes with fewer photos than this get some, made from their own; 0: none
    # known classes to generate from their names as well, so that train.py can test what such photos
    # are worth for a class without photos
    swap: Count = 12
    seed: Seed = 42  # of the classes to swap and of every photo

    # == Model ==
    model: str | None = None  # diffusers model, a hub name or folder; default: Stable Diffusion 1.5
    licence: str = ""  # licence of the model, for source.csv
    prompt: str = "a photo of a {}"  # what to ask for; {} is the name of the class
    # how far a photo made from another may differ from it; 1: its own photo plays no part
    strength: Annotated[float, Limits(0.01, 1)] = 0.6
    steps: Positive = 30  # denoising steps
    guidance: Amount = 7.5  # how closely to follow the prompt
    size: Annotated[int, Limits(8, 2048)] | None = None  # pixels; default: the model's own
    device: str = "auto"  # auto, cpu, cuda, cuda:1 or mps; a GPU takes seconds, a CPU minutes
