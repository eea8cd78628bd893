"""Generate photos for train.py --extra: `python generate.py --unseen names.txt`; see `--help`."""

from vlg_fastai.commands import generate as main

if __name__ == "__main__":
    main()
