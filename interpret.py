"""Draw what a run gets wrong: `python interpret.py --top-losses`; see `--help`."""

from vlg_fastai.commands import interpret as main

if __name__ == "__main__":
    main()
