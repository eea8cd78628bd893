"""Every option of every command: one line each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from vlg_fastai.limits import (
    Amount,
    Count,
    File,
    Folder,
    Limits,
    NewFile,
    NewFolder,
    Positive,
    Rate,
    Seed,
    Share,
)
from vlg_fastai.parts import Cache, Chosen, Compute, Decided, Place, Tabled
from vlg_fastai.parts import UserError as UserError  # for all that import it from here

ARCH = "convnext_tiny.in12k_ft_in1k"
SIZE = 224  # pixels, where an architecture has no size of its own here
# architectures whose ImageNet weights come with requirements.txt (17, 20 and 23 MB) -> the pixels
# that they were trained for
BUNDLED = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}
BUNDLED_ARCH = "tf_efficientnet_lite0"  # steps in where the default's weights are not available


@dataclass(frozen=True)
class TrainConfig(Cache, Compute, Decided, Tabled, Place):
    "Train a classifier on a folder of photos and keep all of it in a run folder."

    data: Folder | None = None  # image folder; absent: `data`, or a drawn challenge in `data/demo`
    epochs: Count = 20  # passes over the photos, after --freeze-epochs; 0: the probe alone
    # any timm model name; absent: convnext_tiny.in12k_ft_in1k, or the bundled tf_efficientnet_lite0
    # where the former's weights are not available
    arch: str | None = None
    weights: File | None = None  # .safetensors or .pth file to start from, instead of the hub's
    pretrained: bool = True  # start from trained weights; --no-pretrained starts from nothing
    head: Literal["mlp", "linear"] = "mlp"  # mlp: dropout, 512, batch norm, ReLU, dropout, classes
    # share of what the head's last layer sees that is dropped in training, half of it before the
    # first of two; absent: 0.5 of mlp, nothing of linear
    dropout: Share | None = None
    # chance that a block of the backbone is skipped in training, rising to this at the last one
    drop_path: Share = 0.0
    # a named set of defaults; options given still win. strong: less smoothing, more weight decay, a
    # moving average of the weights, learning rates that fall from stage to stage
    recipe: Literal["original", "strong"] = "original"
    bs: Annotated[int, Limits(2)] = 32  # photos a batch
    # side in pixels of what the model sees; absent: 224, or what a bundled net was trained for
    size: Annotated[int, Limits(32, 2048)] | None = None
    # share of the short side that is cut out: all of it, as fastai's Resize; own: the backbone's.
    # Out-of-fold NLL of a probe on 1,503 photos: .604 for all of it, .620 for lite0's own .875
    crop_pct: Annotated[float, Limits(0.1, 1)] | Literal["own"] = 1.0
    # what becomes of a photo that is no square: cut to one, squeezed, or given grey bars
    fit: Literal["crop", "squish", "pad"] = "crop"
    lr: Rate | Literal["find"] = 2e-3  # peak learning rate of the head; find: run the finder
    lr_body: Rate | None = None  # peak learning rate of the backbone; absent: lr / 20
    # learning rate of each stage of the backbone over that of the stage behind it; 1: all the same
    layer_decay: Annotated[float, Limits(0.1, 1)] = 1.0
    wd: Amount = 1e-3  # weight decay of AdamW
    label_smoothing: Share = 0.2  # share of each label spread over all classes
    # what a net is taught: labels as given; cleaned: what the probe calls a photo whose label is
    # almost surely wrong; soft: half label, half answer of probes that never saw the photo
    targets: Literal["given", "cleaned", "soft"] = "given"
    freeze_bn: bool = False  # leave the statistics of the backbone's batch norm as trained
    l2_sp: Amount = 0.0  # pull of the backbone's weights to where they began, beside weight decay
    # the figure that decides which epoch and which model are kept; log_loss is the NLL of what is
    # submitted
    metric: Literal["nll", "accuracy", "macro_f1", "log_loss", "map@5"] = "nll"
    # epochs without a better one, counted past the lr peak, before the run stops
    patience: Positive = 3
    # photos that choose which model is kept: held-out ones, or these and degraded copies of them
    choose: Literal["clean", "robust"] = "robust"
    lean: bool = False  # keep the chosen model alone, no other candidates beside it
    probe: bool = True  # fit a linear probe on the trained backbone first; kept if nothing beats it
    warm_start: bool = True  # fit the head on the trained backbone's features before epoch 1
    freeze_epochs: Count = 0  # epochs that train the head alone, before --epochs
    # basic: flips and rotations to 30 degrees; strong: varied crops, light and an erased patch;
    # degraded: varied crops, and half the photos blurred, dark, pale, noisy, small or badly
    # compressed; trivial: varied crops, and one change of many at random strength
    aug: Literal["none", "basic", "strong", "degraded", "trivial"] = "basic"
    mixup: Amount = 0.0  # Beta parameter of MixUp; 0 turns it off
    cutmix: Amount = 0.0  # Beta parameter of CutMix; 0 turns it off
    # epoch whose weights are kept: that of the best validation NLL, or the last, in which the
    # held-out photos have no say
    keep: Literal["best", "last"] = "best"
    ema: bool = False  # judge and keep a moving average of the weights instead of the last ones
    weighted: bool = True  # draw rare classes more often in training, as --balance says
    # with --weighted: every class equally often, or by the square root of the number of its photos
    balance: Literal["equal", "sqrt"] = "equal"
    oversample: bool = False  # augmented copies of rare classes, instead of --weighted
    valid_pct: Annotated[float, Limits(0.01, 0.9)] = 0.15  # share of photo groups held out
    seed: Seed = 42  # of the split, the weights, the order and the augmentation
    compile: bool = False  # torch.compile: for long runs on a GPU, minutes of warm-up on a CPU
    # nets to fit, each without a part of the photos that it then answers, so that all photos give a
    # score; predictions are the mean of all; 0: one net, and --valid-pct held out
    folds: Annotated[int, Limits(0, 10)] = 0
    refit: bool = False  # with --folds: one net more, of all photos
    # with --folds: devices to fit them on at a time, each fold in a process of its own, such as
    # cuda:0,cuda:1 or cpu,cpu; absent: one after the other on --device
    devices: str | None = None
    # hours from start to end, prediction included: as many of --epochs as fit; absent: no limit
    hours: Annotated[float, Limits(0.001)] | None = None
    # minutes after which a fit is kept within an epoch as well; 0: after each epoch alone
    checkpoint_minutes: Amount = 5.0
    dry_run: bool = False  # every step on 8 photos of 8 classes, two epochs: does it all work?
    name: str | None = None  # of the run folder, behind its number; absent: the arch
    tensorboard: bool = False  # log to the run's folder for `tensorboard --logdir runs`
    wandb: str | None = None  # Weights & Biases project to log to; WANDB_MODE=offline keeps it here
    config: Path | None = None  # a run's config.json to do again; options given still win
    # run that stopped, by name, number or path, or `last`: goes on where it was, in its own folder
    resume: str | None = None
    resume_anyway: bool = False  # although photos changed since: with those that are as they were


@dataclass(frozen=True)
class PredictConfig(Cache, Compute, Decided, Chosen):
    "Predict the test photos with one run, or the average of several, and write a submission."

    test: Folder | None = None  # folder of photos to predict; absent: `test` in the data folder
    out: NewFile = Path("submission.csv")  # the submission; probabilities and forecast beside it
    sample: File | None = None  # sample submission to follow; absent: looked for in the data folder
    # how the submission spells classes: names, index (numbers from 0 in order of names), or a CSV
    # with a class and its label a line; absent: names, if the sample has some of them
    labels_as: Literal["names", "index"] | File | None = None
    # how several runs count: mean, each the same; greedy, by shares found on photos that none saw;
    # or a blend.json to repeat; absent: the best run alone, mean or greedy, the simplest that does
    # as well
    blend: Literal["mean", "greedy"] | File | None = None
    # with --run A B: a net whose weights are the mean of theirs, kept as a run, if it is no worse
    soup: bool = False
    tta: bool = False  # average with the mirrored photo; says whether that helped on validation
    bs: Positive = 64  # photos a batch
    # how many photos look like no class that was trained on, and the score to expect
    forecast: bool = True
    # answer photos that are taken differently without what they all have in common; auto: where
    # similar made-up tests gained from it, and never with --no-forecast
    adapt: Literal["auto", "on", "off"] = "auto"
    # names of classes that were not trained on, one a line: label, or label: prompt | synonym
    unseen: File | None = None
    classes: File | None = None  # the same with the names of all classes, known ones included
    unseen_frac: Share | None = None  # share of test photos of unseen classes, where it is known
    transductive: bool = False  # with names: let the test photos correct the naming
    # with names: open_clip's NAME/TAG, or NAME/FILE of weights; absent: a small one, if available
    clip: str | None = None
    attributes: File | None = None  # with names: table of all classes by attributes, CSV or AwA2's
    text_encoder: str | None = None  # with names: sentence encoder, folder or name on the hub
    reject: str | None = None  # label for photos that look like no known class; sheets of these


@dataclass(frozen=True)
class AuditConfig(Cache, Compute, Decided, Tabled, Place):
    "Find repeated photos, doubtful labels, broken and odd files, and decide about them by looking."

    data: Folder | None = None  # image folder; absent: `data`, or a drawn challenge in `data/demo`
    out: NewFolder = Path("audit")  # folder for issues.csv and the page
    arch: str | None = None  # backbone whose features are compared; absent: as train.py
    weights: File | None = None  # .safetensors or .pth file of its weights, instead of the hub's
    # side in pixels of what the backbone sees; absent: as train.py
    size: Annotated[int, Limits(32, 2048)] | None = None
    # run of folds whose nets judge the labels; absent: the newest of this folder, or else a probe
    run: str | None = None
    auto: bool = False  # decide what is nearly certain: labels that held-out models doubt twice
    compare: bool = False  # only: the probe with and without the decisions made so far
    seed: Seed = 42  # of the folds that judge labels


@dataclass(frozen=True)
class InterpretConfig(Cache, Compute, Decided, Chosen):
    "Draw what a run gets wrong and what it looks at: the reports named, or the first five."

    confusion: bool = False  # confusion matrix (PNG, CSV), most confused pairs, per-class report
    # sheet of the N held-out photos with the worst loss; 24 where N is left out
    top_losses: tuple[Positive, ...] | None = None
    # Grad-CAM of N held-out photos, the surest of each class in turn; 24 where N is left out
    gradcam: tuple[Positive, ...] | None = None
    # reliability diagram of the held-out photos, in N bins; 10 where N is left out
    reliability: tuple[Positive, ...] | None = None
    # one page to look at: score and forecast, curves, confusion, worst losses, classes
    page: bool = False
    # how test photos compare with known and held-out classes, and sheets of the N most unlike ones
    unlike: tuple[Positive, ...] | None = None
    # map of training and test photos, N of each side at most; 3,000 where N is left out
    map: tuple[Positive, ...] | None = None
    # test photos for --unlike, --map and the page's forecast; absent: `test` in the data folder
    test: Folder | None = None
    images: tuple[File, ...] = ()  # Grad-CAM of these photos for their three likeliest classes
    # deletion and insertion of Grad-CAM on N photos; 50 where N is left out, in minutes on a CPU
    faithfulness: tuple[Positive, ...] | None = None


@dataclass(frozen=True)
class CompareConfig(Place):
    "Compare finished runs on the photos they all held out, and say what is more than noise."

    run: tuple[str, ...] = ()  # runs by name, number or path; absent: all finished ones
    against: str | None = None  # run to compare the others with; absent: the best
    # figure that says which is best, and is tested; absent: the --metric of the runs, or accuracy
    by: Literal["accuracy", "nll", "macro_f1", "map@5"] | None = None
    sort: Literal["score", "run", "seconds", "speed"] = "score"  # order of the rows


# all the drawn challenge needs; the last two of tune.py
DEMO = {"arch": BUNDLED_ARCH, "size": 128, "epochs": 5, "trials": 6, "fix": ("epochs=2",)}


def size_of(cfg, arch):
    "The --size of `cfg`, or the one that suits `arch` (with or without the tag of its weights)."
    return cfg.size or BUNDLED.get(arch.split(".")[0], SIZE)
