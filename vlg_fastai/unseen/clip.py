"""Build an expert on any names from CLIP, given by name and tag or by name and weights file."""

import difflib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data.neighbours import unit
from vlg_fastai.data.view import View
from vlg_fastai.model import sources
from vlg_fastai.model.features import FeatureExtractor
from vlg_fastai.model.inference import fit_temperature
from vlg_fastai.unseen.features import UnavailableError

DEFAULT = "ViT-B-32/datacomp_xl_s13b_b90k"  # open weights, 69.2 % zero-shot on ImageNet
HUB = "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"  # where they are: checked before open_clip loads
MOST = 2_000  # training photos to fit its temperature on
TEMPLATES = (  # the plain ones, and the seven that OpenAI's notebook found to matter
    "{}", "a photo of a {}.", "itap of a {}.", "a bad photo of the {}.", "a origami {}.",
    "a photo of the large {}.", "a {} in a video game.", "art of the {}.",
    "a photo of the small {}.",
)  # fmt: skip


@dataclass(frozen=True)
class ClipExpert:
    "Logits (n, names) of labelled and of test photos; tau is fitted on the known classes."

    labelled: np.ndarray
    test: np.ndarray
    taus: tuple[float, ...]
    words: str

    def of_labelled(self, rows, columns, tau, train=None):
        return softmax(self.labelled[np.ix_(rows, columns)] / tau, axis=1)

    def of_test(self, columns, tau):
        return softmax(self.test[:, columns] / tau, axis=1)

    @classmethod
    def of(cls, shown, asked, texts, labelled, words, scale=100.0):
        """From embeddings of length one: photos (n, d) and (m, d), names (names, d).

        shown holds all labelled photos; only those without doubt need embeddings. The single
        temperature is fitted on all known classes, including those that a fold holds out.
        """
        logits = [scale * side @ texts.T for side in (shown, asked)]
        rows = np.random.default_rng(labelled.seed).permutation(labelled.sound)[:MOST]
        known = logits[0][rows][:, : labelled.classes]
        return cls(*logits, (fit_temperature(known, labelled.y[rows]),), words)


@dataclass(frozen=True)
class Tower(FeatureExtractor):
    "The image side of a CLIP as a frozen net: embeddings instead of features, kept in the store."

    @property
    def width(self):
        return self._forward(torch.zeros(1, 3, self.view.size, self.view.size,
                                         device=self.machine.device)).shape[1]  # fmt: skip

    def _forward(self, x):
        with torch.no_grad():
            made = self.net(x)  # some nets return the pooled output and the tokens
            return (made[0] if isinstance(made, tuple) else made).float()


def check(asked):
    "UserError where the CLIP that is `asked` for is not available."
    if find_spec("open_clip") is None:
        raise UserError(f"--clip {asked}: needs pip install -r requirements-clip.txt")
    _chosen(asked)


def expert(run_features, names, asked):
    "The ClipExpert for `names`; UserError where the one the user `asked` for is not available."
    if find_spec("open_clip") is None:
        raise UnavailableError("CLIP needs pip install -r requirements-clip.txt")
    if not (asked or _available({"hf_hub": HUB})):
        raise UnavailableError(
            f"the weights of {DEFAULT} are not in the hub's cache, and the hub does not answer"
        )
    arch, tag = _chosen(asked or DEFAULT)
    model, tokenizer = _loaded(arch, tag, run_features.extractor.machine)
    shown, test = _embedded(model, run_features)
    texts = _texts(model, tokenizer, names, run_features.extractor.machine)
    scale = float(model.logit_scale.detach().exp())
    return ClipExpert.of(shown, test, texts, run_features.labelled, f"CLIP {arch}/{tag}", scale)


def _chosen(asked):
    "(architecture, tag or file) whose weights are available."
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    arch, _, tag = asked.partition("/")
    if arch not in open_clip.list_models():
        close = difflib.get_close_matches(arch, open_clip.list_models(), n=3)
        raise UserError(f"--clip {asked}: open_clip has no {arch}; similar: {', '.join(close)}")
    if Path(tag).is_file():
        return arch, tag
    facts = get_pretrained_cfg(arch, tag)
    if not facts:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise UserError(
            f"--clip {asked}: {tag or 'nothing'} is neither a weights file nor a tag of {arch};"
            f" tags: {known}"
        )
    if not _available(facts):
        raise UserError(
            f"--clip {asked}: its weights are not in the hub's cache and the hub does not answer;"
            f" give --clip {arch}/FILE"
        )
    return arch, tag


def _available(facts):
    repo = (facts.get("hf_hub") or "").strip("/")
    if repo:
        names = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
        return sources.cached(repo, names) or sources.answers(f"{sources.endpoint()}/{repo}")
    return sources.answers(facts.get("url", ""))


def _loaded(arch, tag, machine):
    import open_clip

    say(f"loading CLIP {arch}/{tag}")
    try:
        model = open_clip.create_model(arch, pretrained=tag, device=machine.device)
        tokenizer = open_clip.get_tokenizer(arch)
    except Exception as error:  # a damaged file, another net's weights, the hub: long messages
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--clip {arch}/{tag}: cannot be loaded ({reason})") from None
    return model.eval(), tokenizer


def _embedded(model, run_features):
    "Embeddings of length one of labelled photos without doubt (others are 0), and of test photos."
    facts = model.visual.preprocess_cfg
    size = facts["size"] if isinstance(facts["size"], int) else facts["size"][0]
    view = View(size, tuple(facts["mean"]), tuple(facts["std"]), facts["interpolation"], 1.0)
    extractor = run_features.extractor
    tower = Tower(model.visual, view, extractor.machine, extractor.store)
    sound = run_features.labelled.sound
    if tower.lost(run_features.shown.iloc[sound]):
        raise UnavailableError("the run's photos are missing; see --data")
    found = [
        unit(tower.features(side)) for side in (run_features.shown.iloc[sound], run_features.asked)
    ]
    shown = np.zeros((len(run_features.shown), found[1].shape[1]), np.float32)
    shown[sound] = found[0]
    return shown, found[1]


def _texts(model, tokenizer, names, machine):
    "(names, d): the mean direction of each name's prompts over all templates."
    made = []
    for name in names:
        said = [template.format(prompt) for prompt in name.prompts for template in TEMPLATES]
        with torch.inference_mode():
            rows = model.encode_text(tokenizer(said).to(machine.device)).float().cpu().numpy()
        made.append(unit(unit(rows).mean(0, keepdims=True))[0])
    return np.stack(made)
