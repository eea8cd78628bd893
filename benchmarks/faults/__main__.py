"""What faults cost: kills, resumes, files that are not photos, full disks.

    python benchmarks/faults [kills 200] [resumes 100] [images 10000] [disk 50] [hours 20] ...

Without arguments it runs all `CAMPAIGNS` with their default counts, in about seven hours on two
cores. Prints one line for each: count and faults. A killed process is a whole command,
with reading processes and its own cache, which the next one finds. Nothing may end in a traceback.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from disks import disk, full, read_only
from files import edits, images, names, vanishing
from processes import hours, kills, long_hours, resumes, writers

CAMPAIGNS = {
    "kills": (kills, 200), "writers": (writers, 20), "resumes": (resumes, 100),
    "hours": (hours, 10), "long_hours": (long_hours, 10), "images": (images, 10_000),
    "edits": (edits, 60), "names": (names, 5), "vanishing": (vanishing, 30), "disk": (disk, 50),
    "full": (full, 50), "read_only": (read_only, 20),
}  # fmt: skip
SEED = 0


def main(words):
    asked = dict(zip(words[::2], map(int, words[1::2]), strict=True))
    for what, count in (asked or {key: usual for key, (_, usual) in CAMPAIGNS.items()}).items():
        with tempfile.TemporaryDirectory() as place:
            start = time.monotonic()
            faults = CAMPAIGNS[what][0](count, Path(place), random.Random(SEED))
            told = "; ".join(faults[:8]) or "none"
            seconds = round(time.monotonic() - start)
            print(f"{what}: {count} in {seconds} s, faults: {len(faults)} ({told})", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
