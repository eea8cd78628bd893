"""Build challenges other than photos of animals from pictures in packages.

    python benchmarks/kinds.py FROM SHARED TO    FROM: unpacked packages; SHARED: animals, objects;
                                                 TO/<challenge>/<domain>/<class>

npm: emoji-datasource-apple, -google, -twitter, -facebook, each unpacked to FROM/em-<vendor>, and
openmoji, unpacked to FROM/openmoji, whose outlines `rsvg-convert` renders;
Debian: openclipart-png and tuxpaint-stamps-default, unpacked to FROM/deb; and the fonts that
fontconfig lists. Training photos of SHARED are a domain of emoji and of clip art.
Pictures of one subject by two hands have the same file name in both domains, so no model trains on
one and is tested on the other. Only figures are derived from these pictures: none is shipped.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE, FEWEST, MOST = 160, 10, 60  # pixels; pictures per class
VENDORS = ("apple", "google", "twitter", "facebook")
EMOJI = {
    "mammal": ["animal-mammal"], "bird": ["animal-bird"], "bug": ["animal-bug"],
    "sea": ["animal-marine"], "plant": ["plant-flower", "plant-other"], "fruit": ["food-fruit"],
    "vegetable": ["food-vegetable"], "dish": ["food-prepared", "food-asian"],
    "sweet": ["food-sweet"], "drink": ["drink"], "clothing": ["clothing"],
    "sport": ["sport", "game"],
    "vehicle": ["transport-ground"], "building": ["place-building"], "weather": ["sky & weather"],
    "clock": ["time"], "tool": ["tool"], "office": ["office", "book-paper"], "heart": ["heart"],
    "face": ["face-smiling", "face-neutral-skeptical", "face-concerned", "face-unwell"],
    "flag": ["country-flag"], "letter": ["alphanum", "keycap"], "shape": ["geometric"],
    "arrow": ["arrow", "av-symbol"], "household": ["household"],
}  # fmt: skip
CLIPART = {
    "mammal": ["animals/mammals"], "bird": ["animals/birds"], "bug": ["animals/bugs"],
    "fish": ["animals/fish"], "fruit": ["food/fruit"], "vegetable": ["food/vegetables"],
    "dessert": ["food/desserts"], "drink": ["food/beverages"], "flower": ["plants/flowers"],
    "tree": ["plants/trees"], "vehicle": ["transportation/vehicles"],
    "roadsign": ["transportation/roadsigns"],
    "house": ["buildings/homes"], "tool": ["tools"], "music": ["recreation/music"],
    "sport": ["recreation/sports"],
    "flag": ["signs_and_symbols/flags/europe", "signs_and_symbols/flags/asia"],
    "card": ["recreation/games/cards"], "hat": ["people/clothing/hats"],
    "computer": ["computer/hardware"],
    "weapon": ["tools/weapons"], "smiley": ["people/smilies"],
}  # fmt: skip
STAMPS = {
    "mammal": ["animals/mammals", "animals/marsupials"], "bird": ["animals/birds"],
    "bug": ["animals/insects"], "fish": ["animals/fish", "animals/shellfish"],
    "fruit": ["food/fruit", "food/nuts"],
    "vegetable": ["food/vegetables"], "flower": ["plants/flowers"], "tree": ["plants/trees"],
    "vehicle": ["vehicles", "military/vehicles"], "roadsign": ["town/roadsigns"],
    "house": ["town/houses", "town/monuments"], "tool": ["household/tools", "household/arttools"],
    "music": ["hobbies/music"], "hat": ["clothes/hats"],
}  # fmt: skip
# training photos of these classes are one more domain: the same things, photographed
PHOTOS = {
    "mammal": ["beaver", "cougar", "dalmatian", "elephant", "gerenuk", "kangaroo", "leopard",
               "llama", "platypus", "rhino"],
    "bird": ["emu", "ibis", "pigeon", "rooster"], "bug": ["ant", "butterfly", "mayfly", "tick"],
    "fruit": ["strawberry"],
}  # fmt: skip
PHOTOGRAPHED = {
    "emoji": PHOTOS | {
        "sea": ["crab", "crayfish", "nautilus", "octopus", "seahorse", "starfish", "bass"],
        "household": ["chair", "lamp", "cup"], "plant": ["sunflower"], "building": ["pagoda"]},
    "clips": PHOTOS | {
        "fish": ["bass", "seahorse"], "flower": ["sunflower"], "tool": ["scissors", "stapler"],
        "vehicle": ["ferry", "helicopter", "wheelchair"]},
}  # fmt: skip
HANDS = ("script", "slanted", "heavy", "upright")
SCRIPTS = ("Dancing", "Kristi", "Lobster", "Breip", "Chancery", "Comfortaa")


def save(image, path, ground=(255, 255, 255)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image.convert("RGBA")
    image.thumbnail((SIDE, SIDE))
    sheet = Image.new("RGBA", (SIDE, SIDE), (*ground, 255))
    at = tuple((SIDE - side) // 2 for side in image.size)
    sheet.alpha_composite(image, at)
    sheet.convert("RGB").save(path)


def emoji(source, target):
    for vendor in VENDORS:
        package = source / f"em-{vendor}/package"
        table = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
        for label, kinds in EMOJI.items():
            found = [row for row in table if row["subcategory"] in kinds]
            random.Random(0).shuffle(found)
            for row in found[:MOST]:
                file = package / f"img/{vendor}/64/{row['image']}"
                if file.is_file():
                    image = Image.open(file).convert("RGBA").resize((SIDE, SIDE))
                    save(image, target / vendor / label / file.name)
                    outlined(source, row, target / "outlines" / label / file.name)


def outlined(source, row, path):
    "Save the outlines of an emoji, where they were drawn: black lines, nothing filled."
    for code in (row["unified"], row["non_qualified"] or ""):
        file = source / f"openmoji/package/black/svg/{code}.svg"
        if file.is_file() and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["rsvg-convert", "-w", f"{SIDE}", "-o", path, file], check=True)
            save(Image.open(path), path)


def photos(shared, target):
    for name, kinds in PHOTOGRAPHED.items():
        for label, classes in kinds.items():
            files = sorted(
                file
                for side in ("animals", "objects")
                for one in classes
                for file in (shared / side / "train" / one).glob("*")
            )
            random.Random(0).shuffle(files)
            for file in files[:MOST]:
                path = target / name / "photos" / label / f"{file.parent.name}-{file.stem}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(file.resolve())


def clips(source, target):
    for domain, root, kinds in (
        ("clipart", source / "deb/usr/share/openclipart/png", CLIPART),
        ("stamps", source / "deb/usr/share/tuxpaint/stamps", STAMPS),
    ):
        for label, folders in kinds.items():
            files = sorted(file for folder in folders for file in (root / folder).rglob("*.png"))
            random.Random(0).shuffle(files)
            for i, file in enumerate(files[:MOST]):
                try:
                    save(Image.open(file), target / domain / label / f"{domain}-{i:03d}.png")
                except (OSError, ValueError, Image.DecompressionBombError):
                    continue


def glyphs(target):
    "Letters, one picture per font; files are named after the font family in every domain."
    told = subprocess.run(["fc-list", "--format", "%{file}\t%{family[0]}\t%{style[0]}\n"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    for line in sorted(set(told.splitlines())):
        file, family, style = line.split("\t")
        script = any(word in family for word in SCRIPTS)
        slanted = any(word in style for word in ("Italic", "Oblique"))
        heavy = any(word in style for word in ("Bold", "Black", "Heavy"))
        hand = HANDS[[script, slanted, heavy, True].index(True)]
        if Path(file).suffix not in (".ttf", ".otf") or "Symbol" in family or "Dingbat" in family:
            continue
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            name = f"{family.replace(' ', '')}.png"
            save(letter_of(letter, file, f"{letter}{line}"), target / hand / letter / name)


def letter_of(letter, file, seed):
    rng = random.Random(seed)
    ground = tuple(rng.randint(150, 255) for _ in range(3))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    font = ImageFont.truetype(file, rng.randint(70, 130))
    ink = tuple(rng.randint(0, 110) for _ in range(3))
    place = (SIDE // 2 + rng.randint(-15, 15), SIDE // 2 + rng.randint(-15, 15))
    ImageDraw.Draw(image).text(place, letter, ink, font, anchor="mm")
    return image.rotate(rng.uniform(-8, 8), fillcolor=ground)


if __name__ == "__main__":
    source, shared, target = map(Path, sys.argv[1:])
    emoji(source, target / "emoji")
    clips(source, target / "clips")
    glyphs(target / "glyphs")
    photos(shared, target)
