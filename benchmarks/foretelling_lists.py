"""List the challenges and families of simulated tests, fixed before the table was fitted.

A family is a style or a way of cutting, the same in training and test. Of two domains, another
"hand" draws the same way (emoji of another maker), another "medium" does not (photos, then clip
art).
"""

import styles

from vlg_fastai.data import degrade

TAUGHT = ("grey", "lines", "painted", "cartoon", "night", "edges")  # styles of training photos
DEGRADED = {"degraded": degrade.TRAINING, "degraded otherwise": degrade.JUDGING}
# challenge: (most pictures, domains of which the first is styled, trained on > tested on: another
# hand's, another medium's)
CHALLENGES = {
    "paintings": (700, ["train"], [], []),
    "objects": (700, ["train"], [], []),
    "animals": (700, ["train"], [], []),
    "animals, all": (1600, ["train"], [], []),
    "drawn": (700, ["drawn", "ink"], ["drawn>ink", "ink>drawn"], []),
    "drawn, all": (1600, ["drawn", "ink"], ["drawn>ink", "ink>drawn"], []),
    "emoji": (700, ["apple", "google", "twitter", "facebook", "outlines", "photos"], [
        "apple>google", "apple>twitter", "apple>facebook", "twitter>google", "google>facebook",
        "facebook>apple"], [
        "photos>apple", "photos>twitter", "photos>outlines", "apple>photos", "apple>outlines",
        "outlines>google", "outlines>photos"]),
    "clips": (700, ["clipart", "stamps", "photos"], ["clipart>stamps", "stamps>clipart"], [
        "photos>clipart", "photos>stamps", "clipart>photos", "stamps>photos"]),
    "glyphs": (700, ["upright", "slanted", "heavy", "script"], [
        "upright>slanted", "upright>heavy", "upright>script", "slanted>heavy", "heavy>script",
        "heavy>upright"], []),
}  # fmt: skip
WRONG = {"animals": 0.05, "animals, all": 0.05}  # known share of wrong labels of these photos


def families(name):
    "The families of tests simulated from photos of the challenge `name`, in order."
    cut = ["plain", "plain", "plain", "clusters", "clusters"]
    degraded = [f"degraded:{kind}" for kind in DEGRADED]
    styled = [f"style:{style}" for style in styles.STYLES]
    taught = [f"taught:{style}" for style in TAUGHT]
    hands, media = CHALLENGES[name][2:]
    pairs = [f"hand:{pair}" for pair in hands] + [f"medium:{pair}" for pair in media]
    return [*cut, *degraded, *styled, *taught, *pairs]
