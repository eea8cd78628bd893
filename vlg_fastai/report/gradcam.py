"""Compute Grad-CAM maps: where in a photo a model finds evidence for a class."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image
from torch.nn.functional import interpolate

from vlg_fastai.config import UserError
from vlg_fastai.console import track
from vlg_fastai.data import loaders
from vlg_fastai.data.pixels import Pixels
from vlg_fastai.machine.device import Machine
from vlg_fastai.model import bundle
from vlg_fastai.model.blend import explained
from vlg_fastai.runs.run import FOLD

BATCH = 16  # photos explained at a time: 16 of 224 px take about 1 GB
COLOURS, STRENGTH = (
    colormaps["inferno"],
    0.65,
)  # of the overlay; at full strength it hides the photo


@dataclass(frozen=True)
class Explained:
    "A photo as the model saw it, its probabilities (classes,), and a raw map (h, w) per target."

    photo: Image.Image
    probs: np.ndarray
    maps: np.ndarray

    @property
    def overlays(self):
        "The photo under each of its maps."
        return [overlay(self.photo, raw) for raw in self.maps]


@dataclass(frozen=True)
class Explainer:
    "A run's model, ready to explain photos."

    model: torch.nn.Module
    spec: bundle.ModelSpec
    machine: Machine
    pixels: Pixels | None = None
    done: dict = field(default_factory=dict)  # two reports may ask for the same photos

    @classmethod
    def of_run(cls, run, machine, photos, store):
        "For `run`; the table `photos` (path, content) says which may be decoded in `store`."
        if run.members:
            return OfFolds.of_run(run, machine, photos, store)
        model, spec = bundle.load(run, machine)
        return cls(model, spec, machine, spec.view.pixels(photos, store, now=False))

    def __call__(self, paths, targets):
        """For each of `paths` an `Explained`, or None where it is not a readable photo.

        targets: (n, k) numbers of the classes to explain. Photos are shown to the model exactly as
        predict.py shows them.
        """
        rows = np.asarray(targets).reshape(len(paths), -1)
        jobs = list(zip(paths, map(tuple, rows.tolist()), strict=True))
        asked = [job for job in dict.fromkeys(jobs) if job not in self.done]
        new = [job for job in asked if job[0].is_file() and not self.pixels.problem(job[0])]
        if new:
            found = self._explained([path for path, _ in new], np.array([row for _, row in new]))
            self.done.update(zip(new, found, strict=True))
        return [self.done.get(job) for job in jobs]

    def _explained(self, paths, targets):
        dl = loaders.plain(paths, self.spec.view, BATCH, self.machine, self.pixels)
        rows = torch.as_tensor(targets)
        done = [None] * len(paths)
        for x, places in track(dl, "explaining", len(dl)):
            raw, z = maps(self.model, x, rows[places].T.to(self.machine.device))
            probs = torch.softmax(z / self.spec.temperature, dim=1).cpu().numpy()
            raw = raw.transpose(0, 1).cpu().numpy()
            for i, place in enumerate(places.tolist()):
                done[place] = Explained(seen(x[i], self.spec.view), probs[i], raw[i])
        return done


@dataclass(frozen=True)
class OfFolds(Explainer):
    """The nets of a run of folds: a photo is explained by the net that never saw it, any other
    photo by the first net."""

    own: dict = field(default_factory=dict)  # path of a photo -> the Explainer of its fold

    @classmethod
    def of_run(cls, run, machine, photos, store):
        nets = {one.path.name: Explainer.of_run(one, machine, photos, store) for one in run.members}
        homes = zip(photos["path"], photos["fold"], strict=True)
        own = {path: nets.get(FOLD.format(int(number))) for path, number in homes}
        first = next(iter(nets.values()))
        given = first.model, first.spec, machine, first.pixels, {}
        return cls(*given, {path: net for path, net in own.items() if net})

    def __call__(self, paths, targets):
        rows = np.asarray(targets).reshape(len(paths), -1)
        nets = [self.own.get(path) for path in paths]
        found = [None] * len(paths)
        for net in {id(net): net for net in nets}.values():
            asked = [i for i, one in enumerate(nets) if one is net]
            told = net if net else super().__call__
            for i, one in zip(asked, told([paths[i] for i in asked], rows[asked]), strict=True):
                found[i] = one
        return found


def maps(model, x, targets):
    """(raw maps (k, n, h, w), logits (n, classes)) of photos `x` (n, 3, s, s), classes (k, n).

    Grad-CAM of the logit (Selvaraju et al., 2017): activations weighted by the mean gradient of
    their channel, before ReLU and scaling. `model` is [Backbone, head] in eval mode, or a blend of
    such, of which the last is explained. One forward pass serves all k classes, and no gradient
    flows further back than the explained maps.
    """
    part = explained(model)
    net = part[0].net
    with frozen(part), torch.enable_grad():
        acts, z = _at_target(part, net, x)
        scores = [z.gather(1, target[:, None]).sum() for target in targets]
        grads = [torch.autograd.grad(score, acts, retain_graph=True)[0] for score in scores]
    values = _spatial(acts.detach(), net)
    weights = [_spatial(grad, net).mean((2, 3), keepdim=True) for grad in grads]
    if part is not model:  # the maps show one member, the logits are those of all
        with torch.no_grad():
            z = model(x)
    return torch.stack([(weight * values).sum(1) for weight in weights]), z.detach()


def _at_target(model, net, x):
    "(the explained activations as a leaf of the graph, logits)."
    layer = target_layer(net)
    if layer is None:
        acts = net.forward_features(x).detach().requires_grad_()
        return acts, model[1](net.forward_head(acts, pre_logits=True).flatten(1))
    kept = []

    def cut(module, inputs, output):
        kept.append(output.detach().requires_grad_())
        return kept[0]

    handle = layer.register_forward_hook(cut)
    try:
        return_value = model(x)
    finally:
        handle.remove()
    return kept[0], return_value


def target_layer(net):
    """The module whose output is explained, or None for the output of `forward_features`.

    Tokens (ViT, DeiT): the first norm of the last block, since patches that leave that block no
    longer reach a class token. Swin: its last stage, before the norm. Nets that pool maps: those.
    """
    if hasattr(net, "patch_embed") and hasattr(net, "blocks"):
        return getattr(net.blocks[-1], "norm1", None)
    if getattr(net, "output_fmt", "") == "NHWC" and hasattr(net, "layers"):
        return net.layers[-1]
    return None


def _spatial(values, net):
    "Activations of any layout as (n, channels, h, w); prefix tokens are left out."
    if values.ndim == 4:
        return values.permute(0, 3, 1, 2) if getattr(net, "output_fmt", "") == "NHWC" else values
    if values.ndim != 3 or not hasattr(net, "patch_embed"):
        raise UserError(f"--gradcam: {type(net).__name__} has no feature maps for Grad-CAM")
    height, width = net.patch_embed.grid_size
    patches = values[:, getattr(net, "num_prefix_tokens", 0) :]
    return patches.reshape(len(values), height, width, -1).permute(0, 3, 1, 2)


@contextmanager
def frozen(model):
    "Turn off gradients of the weights, so that the graph begins at the explained maps."
    wanted = [p for p in model.parameters() if p.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


def heat(raw, size):
    "A raw map (h, w) as (size, size) in 0..1: ReLU, bilinear, divided by its largest value."
    positive = torch.as_tensor(raw, dtype=torch.float32).clamp(min=0)[None, None]
    large = interpolate(positive, (size, size), mode="bilinear", align_corners=False)[0, 0].numpy()
    return large / large.max() if large.max() > 0 else large


def overlay(photo, raw):
    "`photo` with the map over it: where the map is low, the photo stays as it is."
    share = heat(raw, photo.width)[..., None]
    colour = COLOURS(share[..., 0])[..., :3] * 255
    mixed = np.asarray(photo) * (1 - STRENGTH * share) + colour * STRENGTH * share
    return Image.fromarray(mixed.round().astype(np.uint8))


def seen(x, view):
    "The normalised photo `x` (3, s, s) as a picture again."
    mean, std = (
        torch.tensor(values, device=x.device)[:, None, None] for values in (view.mean, view.std)
    )
    pixels = ((x * std + mean).clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
