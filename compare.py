"""Compare finished runs on the photos they all held out: `python compare.py`; see `--help`."""

from vlg_fastai.commands import compare as main

if __name__ == "__main__":
    main()
