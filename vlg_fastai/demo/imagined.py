"""Draw extra pictures for the generated challenge, as an image generator would: nearly right."""

from dataclasses import fields, replace

from vlg_fastai.demo.animals import Species, picture
from vlg_fastai.demo.challenge import EVERY

MISTAKEN = 0.12  # chance that an attribute of a picture is that of some other animal
MODEL = "drawn"  # in source.csv


def imagined(label, rng, mistaken=MISTAKEN):
    "A picture (RGB) of the animal `label` that gets some of its attributes wrong."
    species = EVERY[label]
    for field in fields(Species):
        if rng.random() < mistaken:
            values = sorted({getattr(one, field.name) for one in EVERY.values()})
            species = replace(species, **{field.name: rng.choice(values)})
    return picture(species, rng)
