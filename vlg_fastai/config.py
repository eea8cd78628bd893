"""Every option of every command, declared once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

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
from vlg_fastai.parts import Cache, Chosen, Compute, Decided, Elsewhere, Place, Tabled
from vlg_fastai.parts import UserError as UserError  # for all that import it from here

ARCH = "convnext_tiny.in12k_ft_in1k"
SIZE = 224  # pixels, for architectures that BUNDLED does not list
# architecture whose ImageNet weights come with requirements.txt (17, 20 and 23 MB) -> the input
# size it was trained for, in pixels
BUNDLED = {"tf_efficientnet_lite0": 224, "tf_efficientnet_lite1": 240, "tf_efficientnet_lite2": 260}
BUNDLED_ARCH = "tf_efficientnet_lite0"  # the fallback when ARCH's weights are not available


@dataclass(frozen=True)
class TrainConfig(Cache, Compute, Decided, Elsewhere, Tabled, Place):
    "Train a classifier on labelled photos and save everything in a run folder."

    # == Everyday ==
    data: Folder | None = None  # image folder; default: `data`, or a generated demo in `data/demo`
    epochs: Count = 20  # passes over the photos, after --freeze-epochs; 0: linear probe only
    # named set of defaults; explicit options override it. strong: starts from the probe, soft
    # targets, more weight decay, averaged weights, lower learning rates for earlier stages
    recipe: Literal["original", "strong"] = "original"
    # any timm model name; default: convnext_tiny.in12k_ft_in1k, or the bundled
    # tf_efficientnet_lite0 if its weights are not available
    arch: str | None = None
    # input size in pixels; default: 224, or the size a bundled net was trained at
    size: Annotated[int, Limits(32, 2048)] | None = None
    # photos per step; auto: 32, as many of them at a time as fit into the GPU's memory
    bs: Annotated[int, Limits(2)] | Literal["auto"] = 32
    lr: Rate | Literal["find"] = 2e-3  # peak learning rate of the head; find: run lr_find
    # train K nets, each scored on the fold it did not see, so that every photo counts; predictions
    # are their mean; 0: one net with --valid-pct held out
    folds: Annotated[int, Limits(0, 10)] = 0
    # time limit in hours, prediction included: trains as many of --epochs as fit; default: none
    hours: Annotated[float, Limits(0.001)] | None = None
    seed: Seed = 42  # of the split, initial weights, order of photos and augmentation
    dry_run: bool = False  # check every step: 8 photos of 8 classes, two epochs
    name: str | None = None  # run folder's name after its number; default: the arch

    # == Net ==
    weights: File | None = None  # .safetensors or .pth file to start from instead of the hub's
    pretrained: bool = True  # start from pretrained weights; --no-pretrained: random ones
    head: Literal["mlp", "linear"] = "mlp"  # mlp: dropout, 512, batch norm, ReLU, dropout, classes
    # dropout before the head's last layer, and half of it before the first of two; default: 0.5 for
    # mlp, 0 for linear
    dropout: Share | None = None
    # stochastic depth: chance of skipping a block in training, rising to this at the last block
    drop_path: Share = 0.0
    freeze_bn: bool = False  # keep the pretrained statistics of the backbone's BatchNorm
    compile: bool = False  # torch.compile; pays off in long GPU runs, takes minutes to warm up

    # == Photos ==
    # share of the short side to crop; 1: all of it, as fastai's Resize; own: the backbone's. Probe
    # on 1,503 photos, out-of-fold NLL: 0.604 at 1, 0.620 at lite0's own 0.875
    crop_pct: Annotated[float, Limits(0.1, 1)] | Literal["own"] = 1.0
    # how to make a photo square: center-crop it, squeeze it, or pad it with grey bars
    fit: Literal["crop", "squish", "pad"] = "crop"
    # basic: flips and rotations up to 30 degrees; strong: random crops, lighting, random erasing;
    # degraded: random crops, and half the photos blurred, darkened, faded, noisy, downscaled or
    # compressed; trivial: random crops and one random operation (TrivialAugment)
    aug: Literal["none", "basic", "strong", "degraded", "trivial"] = "basic"
    mixup: Amount = 0.0  # alpha of MixUp's Beta distribution; 0: off
    cutmix: Amount = 0.0  # alpha of CutMix's Beta distribution; 0: off
    weighted: bool = True  # sample rare classes more often in training, as --balance says
    # with --weighted: sample classes equally, or by the square root of their size
    balance: Literal["equal", "sqrt"] = "equal"
    oversample: bool = False  # augmented copies of rare classes instead of --weighted
    valid_pct: Annotated[float, Limits(0.01, 0.9)] = 0.15  # share of photo groups held out

    # == Fit ==
    probe: bool = True  # fit a linear probe first; it is kept if nothing beats it
    warm_start: bool = True  # fit the head on frozen features before epoch 1
    freeze_epochs: Count = 0  # epochs that train only the head, before --epochs
    # training targets. given: labels as they are; cleaned: the probe's prediction where a label is
    # almost certainly wrong; soft: half label, half out-of-fold probe probabilities
    targets: Literal["given", "cleaned", "soft"] = "given"
    label_smoothing: Share = 0.2  # share of each label spread over all classes
    lr_body: Rate | None = None  # peak learning rate of the backbone; default: lr / 20
    # learning rate of each backbone stage relative to the next one; 1: all equal
    layer_decay: Annotated[float, Limits(0.1, 1)] = 1.0
    wd: Amount = 1e-3  # weight decay of AdamW
    l2_sp: Amount = 0.0  # penalty on the distance of backbone weights from their start (L2-SP)
    ema: bool = False  # evaluate and keep an exponential moving average of the weights
    # epochs without improvement, counted after the lr peak, before training stops
    patience: Positive = 3

    # == What is kept ==
    # metric that selects the epoch and the model to keep; log_loss is the NLL of the submission
    metric: Literal["nll", "accuracy", "macro_f1", "log_loss", "map@5"] = "nll"
    # photos that select the model to keep. clean: held-out photos; robust: plus degraded copies
    choose: Literal["clean", "robust"] = "robust"
    # epoch whose weights to keep: the best by validation NLL, or the last, in which held-out photos
    # have no say
    keep: Literal["best", "last"] = "best"
    lean: bool = False  # keep only the selected model, not the other candidates

    # == More with folds ==
    refit: bool = False  # with --folds: one more net on all photos
    # with --folds: devices to train on in parallel, one process per fold, such as cuda:0,cuda:1;
    # default: one fold after another on --device
    devices: str | None = None

    # == Repeat and resume ==
    config: Path | None = None  # config.json of a run to repeat; explicit options override it
    # continue a stopped run in its own folder: its name, number or path, or `last`
    resume: str | None = None
    resume_anyway: bool = False  # even if photos changed: continue with the unchanged ones
    # minutes between checkpoints within an epoch; 0: only after each epoch
    checkpoint_minutes: Amount = 5.0

    # == Trackers ==
    tensorboard: bool = False  # log to the run folder, for `tensorboard --logdir runs`
    wandb: str | None = None  # Weights & Biases project; WANDB_MODE=offline logs locally


@dataclass(frozen=True)
class PredictConfig(Cache, Compute, Decided, Chosen):
    "Predict the test photos with one run or a blend of several, and write a submission."

    # == Everyday ==
    # photos to predict on screen, such as photo.jpg; default: a folder of test photos is predicted
    photos: Positional[tuple[Path, ...]] = ()
    test: Folder | None = None  # folder of photos to predict; default: the data folder's `test`
    out: NewFile = Path("submission.csv")  # the submission; probabilities and forecast go beside it
    tta: bool = False  # average with the mirrored photo; reports whether that helped

    # == Submission ==
    sample: File | None = None  # sample submission to follow; default: found in the data folder
    # how to write classes: names, index (0, 1, ... in order of names), or a CSV of `class,label`
    # lines; default: names, if the sample submission uses them
    labels_as: Literal["names", "index"] | File | None = None

    # == Several runs ==
    # weights of several runs. mean: equal; greedy: fitted on photos that no run saw; blend.json:
    # repeat that one; default: the best run, mean or greedy, the simplest that loses nothing
    blend: Literal["mean", "greedy"] | File | None = None
    # with --run A B: average the runs' weights into one net; kept as a run if it is no worse
    soup: bool = False

    # == Forecast and shift ==
    # forecast the score, and how many photos look unlike every class of the training set
    forecast: bool = True
    # remove the offset that test photos share before predicting; auto: where similar simulated
    # tests gained from it, never with --no-forecast
    adapt: Literal["auto", "on", "off"] = "auto"

    # == Classes without training photos ==
    # file of class names without training photos, one per line: label, or label: prompt | synonym
    unseen: File | None = None
    classes: File | None = None  # the same, naming all classes, trained ones included
    # share of test photos from unseen classes, if known: 0 where there is none
    unseen_frac: Share | None = None
    transductive: bool = False  # with names: refine the naming on the test photos
    # with names: open_clip NAME/TAG or NAME/FILE of weights; default: a small one, if available
    clip: str | None = None
    attributes: File | None = None  # with names: table of class attributes, CSV or AwA2's
    text_encoder: str | None = None  # with names: sentence encoder, a folder or a hub name
    reject: str | None = None  # label for photos unlike every known class; writes sheets of them

    # == Speed ==
    bs: Positive = 64  # photos per batch


@dataclass(frozen=True)
class AuditConfig(Cache, Compute, Decided, Tabled, Place):
    "Find repeated photos, doubtful labels and broken files, and review them on a page."

    # == Everyday ==
    data: Folder | None = None  # image folder; default: `data`, or a generated demo in `data/demo`
    out: NewFolder = Path("audit")  # output folder for issues.csv and the page
    auto: bool = False  # relabel what two filters of held-out models doubt
    compare: bool = False  # only compare the probe with and without the decisions so far

    # == How labels are checked ==
    # run of --folds whose nets check the labels; default: the newest of this data, else a probe
    run: str | None = None
    arch: str | None = None  # backbone that computes features; default: as train.py
    weights: File | None = None  # .safetensors or .pth file of its weights instead of the hub's
    # input size in pixels; default: as train.py
    size: Annotated[int, Limits(32, 2048)] | None = None
    seed: Seed = 42  # of the folds that check labels


@dataclass(frozen=True)
class InterpretConfig(Cache, Compute, Decided, Chosen):
    "Report what a run gets wrong and what it looks at: the reports you name, or all quick ones."

    # == Reports ==
    # one HTML page: score and forecast, curves, confusion, worst losses, classes
    page: bool = False
    confusion: bool = False  # confusion matrix (PNG, CSV), most confused pairs, class report
    # sheet of the N held-out photos with the highest loss, near-duplicates once; default N: 24
    top_losses: tuple[Positive, ...] | None = None
    # Grad-CAM of N held-out photos, the most confident of each class in turn; default: all classes
    gradcam: tuple[Positive, ...] | None = None
    # reliability diagram of the held-out photos in N bins; default N: 10
    reliability: tuple[Positive, ...] | None = None
    # test photos beside known and held-out classes, and sheets of the N most unlike ones
    unlike: tuple[Positive, ...] | None = None
    # 2-D map of up to N training and N test photos; default N: 3,000
    map: tuple[Positive, ...] | None = None
    images: tuple[File, ...] = ()  # Grad-CAM of these photos for their top three classes
    # deletion and insertion scores of Grad-CAM on N photos; default N: 50; minutes on a CPU
    faithfulness: tuple[Positive, ...] | None = None

    # == Photos ==
    # test photos for --unlike, --map and the page; default: the data folder's `test`
    test: Folder | None = None


@dataclass(frozen=True)
class CompareConfig(Place):
    "Compare finished runs on the photos they all held out, and test which differences are real."

    # == Everyday ==
    run: tuple[str, ...] = ()  # runs by name, number or path; default: all finished ones
    against: str | None = None  # run to compare the others with; default: the best
    # metric that ranks the runs and is tested; default: the runs' --metric, or accuracy
    by: Literal["accuracy", "nll", "macro_f1", "map@5"] | None = None
    sort: Literal["score", "run", "seconds", "speed"] = "score"  # order of the rows


# defaults for the generated demo; the last two are for tune.py
DEMO = {"arch": BUNDLED_ARCH, "size": 128, "epochs": 5, "trials": 6, "fix": ("epochs=2",)}


def size_of(cfg, arch):
    "The --size of `cfg`, or the one that suits `arch` (with or without the tag of its weights)."
    return cfg.size or BUNDLED.get(arch.split(".")[0], SIZE)
