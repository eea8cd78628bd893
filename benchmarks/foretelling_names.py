"""Name the unseen classes of a simulated test as predict.py does: figures and true accuracy."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import timm

from vlg_fastai.config import BUNDLED_ARCH
from vlg_fastai.unseen import fusion, imagenet
from vlg_fastai.unseen.attributes import AttributesExpert
from vlg_fastai.unseen.names import Name


@cache
def net():
    return timm.create_model(BUNDLED_ARCH, pretrained=False)


def expert(labelled, evidence, test, own, names, means):
    "An expert by attributes if there is a table of them, else by sentences."
    table, store = means
    if table:
        return AttributesExpert.of(labelled, test, evidence, names, table)
    extractor = SimpleNamespace(net=net(), store=store, machine=SimpleNamespace(device="cpu"))
    asked = SimpleNamespace(
        extractor=extractor, own_logits=own, spec=SimpleNamespace(arch=BUNDLED_ARCH)
    )
    return imagenet.expert(asked, names, None)


def named(labelled, evidence, photos, truth, share, means):
    """({figure: value} of naming the unseen classes of a test, the true accuracy).

    photos: (features of the test, classifier's probabilities of them, the backbone's own logits of
    (labelled, test)). truth: (names of the known classes, label (m,) of each test photo).
    share: of photos that seem to be of unseen classes. means: (table of attributes or None, a store
    for sentences).
    """
    (test, known, own), (kinds, labels) = photos, truth
    unseen = sorted(set(labels) - set(kinds))
    names = [Name.of(label) for label in (*kinds, *unseen)]
    share = (len(unseen) / len(names) + share) / 2
    made = expert(labelled, evidence, test, own, names, means)
    tried = fusion.trials(evidence, labelled.y, len(kinds), len(unseen))
    setting = fusion.choose(tried, labelled.y, made, share)
    q = made.of_test(np.arange(len(names)), setting.tau)
    best = fusion.scores(known, q, setting.gamma).argmax(1)
    right = np.array([name.label for name in names])[best] == labels
    return {"named known": setting.known, "named unseen": setting.unseen}, right.mean()
