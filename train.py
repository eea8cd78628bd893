"""Train on an image folder: `python train.py --epochs 20`; see `--help`."""

from vlg_fastai.commands import train as main

if __name__ == "__main__":
    main()
