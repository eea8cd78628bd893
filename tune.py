"""Search the options of train.py with Optuna: `python tune.py --trials 30`; see `--help`."""

from vlg_fastai.commands import tune as main

if __name__ == "__main__":
    main()
