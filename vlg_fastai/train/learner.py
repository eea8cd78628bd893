"""Build a fastai Learner from photos and config, and the learning rates of its parts."""

from fastai.callback.progress import ProgressCallback
from fastai.losses import LabelSmoothingCrossEntropy
from fastai.torch_core import set_seed
from fastai.vision.learner import vision_learner
from timm.models import group_parameters
from torch import nn

from vlg_fastai.data import loaders
from vlg_fastai.data.augment import MIN_SCALE, finest
from vlg_fastai.machine import depthwise, precision
from vlg_fastai.model import backbone
from vlg_fastai.model.head import assemble
from vlg_fastai.train.finder import find_lr
from vlg_fastai.train.measuring import keep_on_device, metrics_of
from vlg_fastai.train.optimizer import FusedAdamW
from vlg_fastai.train.targets import TargetLoss

BODY_SHARE = 1 / 20  # the backbone's learning rate over the head's: 1e-4 beside 2e-3


def learner_for(prepared, source):
    "The Learner of a run, all randomness derived from the seed; None for a run without epochs."
    cfg = prepared.cfg
    if not cfg.epochs:
        return None
    set_seed(cfg.seed, cfg.deterministic)  # before the loaders: they draw a seed when made
    state = trained_state(prepared, source)
    return build(batches(prepared, cfg), source, state, cfg, prepared.machine)


def batches(prepared, cfg):
    "The DataLoaders of a run's photos; crops of varied size are cut from finer pixels."
    spec, smallest, pixels = prepared.spec, MIN_SCALE.get(cfg.aug), prepared.pixels
    if smallest:
        detail = finest(smallest)
        pixels = spec.view.pixels(prepared.taught, prepared.store, detail=detail)
    machine = prepared.machine
    return loaders.build(prepared.taught, spec.classes, spec.view, pixels, machine, cfg)


def trained_state(prepared, source):
    "The tensors that fine-tuning starts from; None for an untrained backbone."
    if source.kind == "nothing":
        return None
    extractor = prepared.extractor
    net = extractor.net if extractor else backbone.trained(source, prepared.cfg.size)
    return net.state_dict()


def build(dls, source, trained, cfg, machine):
    """Build a Learner over `dls`: a backbone of `source`, our head, the original's loss and AdamW.

    trained: the state of the backbone to start from, or None for an untrained one.
    """
    learn = _without_head(dls, source, cfg)
    net = learn.model[0].model
    if trained is not None:
        net.load_state_dict({key: trained[key] for key in net.state_dict()})
    learn.model = assemble(net, cfg.head, dls.c, source, cfg.size, cfg.dropout).to(machine.device)
    learn.opt = None  # made for the model before the swap; the next fit makes its own
    if cfg.layer_decay < 1:
        learn.splitter = by_stage
    learn.unfreeze()
    learn.remove_cb(ProgressCallback)
    keep_on_device(learn.recorder)
    learn.model.to(memory_format=machine.memory_format)
    if not cfg.compile:
        depthwise.quicken(learn.model, machine)
    learn.add_cbs(precision.callbacks(machine))
    learn.logger = lambda row: None
    return learn


def _without_head(dls, source, cfg):
    "fastai's own Learner on the untrained net; we add the head and normalisation."
    with backbone.explained(source, cfg.size):
        return vision_learner(
            dls,
            source.arch,
            custom_head=nn.Identity(),
            init=None,
            normalize=False,
            pretrained=False,
            loss_func=loss_of(cfg),
            opt_func=FusedAdamW,
            metrics=metrics_of(cfg.metric),
            wd=cfg.wd,
            **backbone.net_options(source.arch, cfg.size, cfg.drop_path),
        )


def loss_of(cfg):
    "The original's loss, or its equivalent for probabilities."
    smoothed = LabelSmoothingCrossEntropy if cfg.targets == "given" else TargetLoss
    return smoothed(cfg.label_smoothing)


def by_stage(model):
    "Parameter groups of [Backbone, head]: the stages of the net as timm names them, then the head."
    net, head = model[0].net, model[1]
    named = dict(net.named_parameters())
    stages = group_parameters(net, net.group_matcher(coarse=True))
    return [[named[name] for name in stages[i]] for i in sorted(stages)] + [[*head.parameters()]]


def stage_rates(lr_body, lr, decay, groups):
    "Peak learning rate per group: `lr` for the head, `lr_body` below it, less with each stage."
    return [lr_body * decay**depth for depth in reversed(range(groups - 1))] + [lr]


def peak_rates(learn, cfg, *given):
    """(peak learning rate of the backbone, of the head); runs the finder if requested, passing it
    `given`."""
    lr = find_lr(learn, *given) if cfg.lr == "find" else cfg.lr
    return cfg.lr_body or lr * (BODY_SHARE if cfg.pretrained else 1), lr
