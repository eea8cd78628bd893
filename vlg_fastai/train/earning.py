"""Keep the extra photos that earn their place, as probes on frozen features judge them."""

from dataclasses import replace

import numpy as np

from vlg_fastai.console import say
from vlg_fastai.data import extra
from vlg_fastai.model import probe
from vlg_fastai.train import swapping, worth
from vlg_fastai.train.elsewhere import more_of
from vlg_fastai.unseen import shift

NAMED = 3  # photos named in a message


def judged(prepared):
    """`prepared` with the extra photos that earn their place, chosen on its training side alone.

    Those of known classes have to lower the out-of-fold NLL by more than noise; classes that only
    extra photos show keep theirs. Without a trained backbone nothing can be judged.
    """
    there = prepared.extra
    if there is None:
        return prepared
    if there.table.empty or prepared.extractor is None:
        say("extra photos: all are used; without trained weights they cannot be judged")
        return prepared
    there = _original(prepared)
    side, more = _side(prepared), more_of(replace(prepared, extra=there))
    sound = ~worth.doubted(side, more)
    _say_doubted(there.table, ~sound)
    used, figures = _chosen(prepared, side, more, sound)
    swap = swapping.swap(side, more, used)
    _say_swap(swap, there.strange)
    told = {**there.told, **figures, "used": int(used.sum()), "swap": swap}
    bias = swap["bias"] if swap else 0.0
    return replace(prepared, extra=replace(there, table=there.table.assign(used=used), told=told,
                                           bias=bias))  # fmt: skip


def _original(prepared):
    """The `Extra` photos that can be read, that are no copies by their features, and that were made
    from no held-out photo."""
    there, table = prepared.extra, prepared.extra.table
    apart = ~table["kin"].isin(prepared.groups[prepared.held])
    table = table[prepared.extractor.look(table, prepared.pixels) & apart.to_numpy()]
    sides = [prepared.extractor.features(one, prepared.pixels) for one in (prepared.table, table)]
    same = extra.copies(table, prepared.table, np.concatenate(sides))
    if same.any():
        say(f"{same.sum()} more extra photos copy labelled ones, by their features: left out")
    table = table[~same].reset_index(drop=True)
    return replace(there, table=table.assign(used=True))


def _side(prepared):
    "The training `Side` of `prepared`."
    rows = ~prepared.held
    x = prepared.extractor.features(prepared.table[rows], prepared.pixels)
    given = x, prepared.labels[rows], prepared.groups[rows]
    fold = probe.out_of_fold(*given, len(prepared.spec.classes), prepared.store, prepared.cfg.seed)
    return worth.Side.of(*given, fold)


def _chosen(prepared, side, more, sound):
    "((m,) bool: extra photos to learn from, figures): those of known classes if they help."
    strange = side.own[more.y] == 0
    given = side.x, side.y, side.groups, side.classes, prepared.store, prepared.cfg.seed
    without = more.among(strange & sound)
    before = probe.out_of_fold_beside(without, *given) if len(without) else None
    figures = {}
    if before is not None:
        plain = probe.OutOfFold(side.logits, side.strength)
        figures["cost"] = worth.gain(side, plain, before)
        say_gain("classes that only extra photos show, out of fold on the others", figures["cost"])
    if not (sound & ~strange).any():
        return sound, figures
    before = before or probe.OutOfFold(side.logits, side.strength)
    after = probe.out_of_fold_beside(more.among(sound), *given)
    figures["gain"] = worth.gain(side, before, after)
    kept = figures["gain"]["clear"]
    verdict = "used" if kept else "no clear gain, so they are left out"
    say_gain("extra photos of known classes, out of fold", figures["gain"], f": {verdict}")
    figures["auc"] = _told_apart(side, more.among(~strange))
    say(f"real and extra photos can be told apart with AUC {figures['auc']:.2f} (0.5: not at all)")
    return sound & (strange | kept), figures


def _told_apart(side, more):
    "AUC of telling extra photos from labelled ones of the same classes."
    rows = np.isin(side.y, more.y)
    kin = np.arange(len(more))
    return shift.measure(side.x[rows], side.groups[rows], more.x, kin).auc


def say_gain(what, found, verdict=""):
    (before, after), (low, high) = found["nll"], found["accuracy"]
    way = "better" if found["gain"] >= 0 else "worse"
    say(f"{what}: NLL {before:.4f} -> {after:.4f} ({abs(found['gain']):.4f} ± {found['error']:.4f}"
        f" {way}), accuracy {low:.4f} -> {high:.4f}{verdict}")  # fmt: skip


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
    say(f"swap test: shown by extra photos alone, {found['accuracy']:.2f} of the photos of known"
        f" classes are predicted correctly ({found['classes']} classes); expect {low:.2f} to"
        f" {high:.2f} for the {len(strange)} classes that only extra photos show")  # fmt: skip
