"""Keep the extra photos that earn their place, as probes on frozen features judge them."""

from dataclasses import replace

import numpy as np
import pandas as pd

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data import extra
from vlg_fastai.data.shares import weights
from vlg_fastai.model import probe
from vlg_fastai.train import pseudo, swapping, worth
from vlg_fastai.train.elsewhere import more_of
from vlg_fastai.unseen import shift

NAMED = 3  # photos named in a message


def judged(prepared):
    """`prepared` with the extra photos that earn their place, chosen on its training side alone.

    Those of known classes have to lower the out-of-fold NLL by more than noise; classes that only
    extra photos show keep theirs. Without a trained backbone nothing can be judged. Photos made
    from a held-out one are left out in any case.
    """
    there = prepared.extra
    if there is None:
        return prepared
    kin = there.table["kin"].isin(prepared.groups[prepared.held])
    there = there.without(kin, "made from a held-out photo")
    prepared = replace(prepared, extra=there)
    if prepared.extractor is None:
        return _unjudged(prepared)
    prepared = _original(prepared)
    side = _side(prepared)
    prepared = _weighed(prepared, side) if len(prepared.extra.used) else prepared
    if there.asked is not None:
        prepared = _with_test_photos(prepared, side)
    used = prepared.extra.used
    say(f"photos from elsewhere: {len(used)} are learned from")
    told = {**prepared.extra.told, "used": len(used)}
    return replace(prepared, extra=replace(prepared.extra, told=told))


def _unjudged(prepared):
    there = prepared.extra
    if there.asked is not None:
        raise UserError(f"--pseudo {prepared.cfg.pseudo}: needs trained weights to judge by, and"
                        " --probe or --warm-start")  # fmt: skip
    used = len(there.used)
    say(f"photos from elsewhere: all {used} are learned from; nothing judges them without features")
    return replace(prepared, extra=replace(there, told={**there.told, "used": used}))


def _original(prepared):
    "`prepared` without extra photos that have no features, or copy a labelled one by them."
    there, cfg = prepared.extra, prepared.cfg
    # all of it now: loaders use random numbers, and a run must not depend on its cache
    mirrored = bool(cfg.epochs and cfg.warm_start)
    seen = prepared.extractor.look(there.table, prepared.pixels, mirrored)
    there = there.without(~seen, "no features")
    used = there.used
    sides = [prepared.extractor.features(one, prepared.pixels) for one in (prepared.table, used)]
    copies = used.loc[extra.copies(used, prepared.table, np.concatenate(sides)), "content"]
    there = there.without(there.table["content"].isin(copies), "copies a labelled photo")
    return replace(prepared, extra=there)


def _side(prepared):
    "The training `Side` of `prepared`."
    rows = ~prepared.held
    x = prepared.extractor.features(prepared.table[rows], prepared.pixels)
    given = x, prepared.labels[rows], prepared.groups[rows]
    fold = probe.out_of_fold(*given, len(prepared.spec.classes), prepared.store, prepared.cfg.seed)
    return worth.Side.of(*given, fold)


def _weighed(prepared, side):
    "`prepared` with the photos of --extra that are sound and help; reports what they are worth."
    there, more = prepared.extra, more_of(prepared)
    sound = ~worth.doubted(side, more)
    _say_doubted(there.used, ~sound)
    kept, figures = _chosen(prepared, side, more, sound)
    swap = swapping.swap(side, more, kept)
    _say_swap(swap, there.strange)
    rows = there.table["used"].to_numpy()
    for odd, why in ((~sound, "odd"), (sound & ~kept, "no gain")):
        out = np.zeros(len(rows), bool)
        out[rows] = odd
        there = there.without(out, why)
    told = {**there.told, **figures, "swap": swap}
    bias = swap["bias"] if swap else 0.0
    return replace(prepared, extra=replace(there, told=told, bias=bias))


def _with_test_photos(prepared, side):
    there = prepared.extra
    table, told = pseudo.taken(prepared, side)
    table = pd.concat([there.table, table.assign(why="")], ignore_index=True)
    return replace(prepared, extra=replace(there, table=table, told={**there.told, "pseudo": told}))


def _chosen(prepared, side, more, sound):
    "((m,) bool: extra photos to learn from, figures): those of known classes if they help."
    strange = side.own[more.y] == 0
    given = side.x, side.y, side.groups, side.classes, prepared.store, prepared.cfg.seed
    before, figures = side.fold, {}
    if (strange & sound).any():
        before = probe.out_of_fold_beside(_weighted(side, more.among(strange & sound)), *given)
        figures["cost"] = worth.gain(side, side.fold, before)
        worth.say_gain("classes that only extra photos show, out of fold on the others",
                       figures["cost"])  # fmt: skip
    if not (sound & ~strange).any():
        return sound, figures
    after = probe.out_of_fold_beside(_weighted(side, more.among(sound)), *given)
    figures["gain"] = worth.gain(side, before, after)
    kept = figures["gain"]["clear"]
    verdict = ": used" if kept else ": no clear gain, so they are left out"
    worth.say_gain("extra photos of known classes, out of fold", figures["gain"], verdict)
    figures["auc"] = _told_apart(side, more.among(~strange))
    say(f"real and extra photos can be told apart with AUC {figures['auc']:.2f} (0.5: not at all)")
    return sound & (strange | kept), figures


def _weighted(side, more):
    "`more` with the weights that its photos have among themselves."
    return replace(more, weight=weights(more.y, side.own))


def _told_apart(side, more):
    "AUC of telling extra photos from labelled ones of the same classes."
    rows = np.isin(side.y, more.y)
    kin = np.arange(len(more))
    return shift.measure(side.x[rows], side.groups[rows], more.x, kin).auc


def _say_doubted(table, odd):
    if odd.any():
        named = ", ".join(table.loc[odd, "file"].head(NAMED))
        say(f"{odd.sum()} extra photos are left out, since a probe finds their class less likely"
            f" than chance, e.g. {named}")  # fmt: skip


def _say_swap(found, strange):
    if not strange:
        return
    if found is None:
        say(f"no swap test of {', '.join(strange)}: it needs extra photos of at least"
            f" {swapping.FEWEST} known classes too")  # fmt: skip
        return
    low, high = found["accuracy_interval"]
    plain, after = found["others"]
    say(f"swap test: shown by extra photos alone, {found['accuracy']:.2f} of the photos of known"
        f" classes are predicted correctly ({found['classes']} classes); expect {low:.2f} to"
        f" {high:.2f} for the {len(strange)} classes that only extra photos show; their logits are"
        f" changed by {found['bias']:+.1f}, which takes known classes from {plain:.2f} to"
        f" {after:.2f}")  # fmt: skip
