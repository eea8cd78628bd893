"""What a table calls photos in, which files it means out: with or without suffix or folder."""

from pathlib import PurePosixPath

# what an id may be, tried in this order
RULES = {
    "path": lambda file, folder: file,
    "path with the folder's name": lambda file, folder: f"{folder}/{file}",
    "name": lambda file, folder: PurePosixPath(file).name,
    "path without suffix": lambda file, folder: str(PurePosixPath(file).with_suffix("")),
    "stem": lambda file, folder: PurePosixPath(file).stem,
}


def best_rule(ids, files, folder):
    """(name of the rule by which most `ids` mean one of `files`, what it calls each of these).

    files: paths relative to the folder that is called `folder`; of equal rules the first.
    """
    keys = {name: [rule(file, folder) for file in files] for name, rule in RULES.items()}
    best = max(keys, key=lambda name: len(set(ids) & set(keys[name])))
    return best, keys[best]
