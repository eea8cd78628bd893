"""Generate photos for `train.py --extra`, one after another, with a note of each."""

from vlg_fastai.checks import check_extra
from vlg_fastai.console import counted, say, track
from vlg_fastai.data import scan
from vlg_fastai.demo import challenge
from vlg_fastai.generate import painters, plan
from vlg_fastai.runs.files import check_room, replacing
from vlg_fastai.unseen import names
from vlg_fastai.unseen.names import Name, Names

PHOTO = 100_000  # bytes of a generated photo, at most


def generate(cfg):
    "Generate what the data folder of `cfg` lacks; return the folder of the photos."
    layout = challenge.layout_of(cfg)
    drawn = layout.is_demo and not cfg.model
    if not drawn:
        for package in ("diffusers", "transformers"):
            check_extra(package, "generate.py", "generate")
    table = scan.scan_classes(layout, cfg=cfg)
    table = table[table["problem"].isna()].drop_duplicates("content")
    classes = sorted(table["label"].unique())
    wanted = plan.wishes(cfg, table, _names(cfg, layout, classes))
    ledger = plan.Ledger.of(cfg.out)
    todo = ledger.missing(wanted)
    check_room(cfg.out, len(todo) * PHOTO, f"--out {cfg.out}")
    say_plan(wanted, todo)
    painter = painters.Drawn() if drawn else painters.Diffusion(cfg)
    told = track(todo, "generating, photo", len(todo))
    refused = sum(not _made(cfg, ledger, painter, wish) for wish in told)
    if refused:
        say(f"{counted(refused)} missing: refused by the model's own filter")
    say(f"{counted(len(todo) - refused)} written to {cfg.out}")
    say(f"next: python train.py --data {layout.root} --extra {cfg.out}")
    return cfg.out


def _names(cfg, layout, classes):
    "The `Names` to generate; those of the generated challenge are at hand."
    beside = layout.root / "unseen.txt"
    path = cfg.unseen or (beside if layout.is_demo and beside.exists() else None)
    if path is None:
        return Names(tuple(Name.of(label) for label in classes), ())
    return names.read(path, "--unseen", classes)


def say_plan(wanted, todo):
    "Report what will be generated."
    kinds = {"from their own photos": [], "from their names": []}
    for wish in wanted:
        kinds["from their own photos" if wish.made_from else "from their names"].append(wish.label)
    for how, labels in kinds.items():
        if labels:
            some = sorted(set(labels))
            of = counted(len(some), "class", "classes")
            say(f"{counted(len(labels))} of {of} {how}: {', '.join(some)}")
    if len(todo) < len(wanted):
        say(f"{len(wanted) - len(todo)} of them are there")


def _made(cfg, ledger, painter, wish):
    "Generate one photo, write and note it; False if it was refused."
    seed = wish.seed(cfg.seed)
    image = painter(wish, seed)
    if image is None:
        return False
    path = cfg.out / wish.file
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        image.convert("RGB").save(beside, format="JPEG", quality=92)
    ledger.note(wish, seed, painter.name, painter.licence)
    return True
