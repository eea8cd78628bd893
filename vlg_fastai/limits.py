"""Types of option values that carry their own check."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True)
class Limits:
    "The closed range that an option's number must lie in; `at_most=None` means no upper limit."

    at_least: float
    at_most: float | None = None

    def admits(self, value):
        return value >= self.at_least and (self.at_most is None or value <= self.at_most)

    def __str__(self):
        top = "or more" if self.at_most is None else f"to {self.at_most}"
        return f"{self.at_least} {top}"


@dataclass(frozen=True)
class Is:
    "What an option's path must be: a file or folder that exists, or one that may be created."

    kind: Literal["file", "folder", "new file", "new folder"]

    def problem(self, path):
        "What is wrong with `path`, or None."
        wanted = self.kind.removeprefix("new ")
        if path.is_file() if wanted == "file" else path.is_dir():
            return None
        if path.exists() or self.kind == wanted:
            return f"not a {wanted}" if path.exists() else f"no such {wanted}"
        return None


File, Folder = Annotated[Path, Is("file")], Annotated[Path, Is("folder")]
NewFile, NewFolder = Annotated[Path, Is("new file")], Annotated[Path, Is("new folder")]
Count = Annotated[int, Limits(0)]
Positive = Annotated[int, Limits(1)]
Seed = Annotated[int, Limits(0, 2**32 - 1)]
Amount = Annotated[float, Limits(0)]
Share = Annotated[float, Limits(0, 0.99)]
Rate = Annotated[float, Limits(1e-9, 10)]


# pairs of options of which at most one may be given
EXCLUSIVE = (
    ("mixup", "cutmix"),
    ("unseen", "classes"),
    ("unseen", "reject"),
    ("classes", "reject"),
    ("config", "resume"),
    ("blend", "soup"),
    ("extra", "oversample"),
    ("pseudo", "oversample"),
)
NAMES = ("unseen", "classes")
WITH_NAMES = ("transductive", "clip", "attributes", "text_encoder")
# option -> options of which one must be given with it
NEEDS = {
    **dict.fromkeys(WITH_NAMES, NAMES), "resume_anyway": ("resume",), "refit": ("folds",),
    "devices": ("folds",), "unseen_frac": ("forecast", *NAMES),
}  # fmt: skip
PACKAGES = ("tensorboard", "wandb")  # options that need a package of the same name
