"""Find what is wrong with a folder of photos: `python audit.py --data DIR`; see `--help`."""

from vlg_fastai.commands import audit as main

if __name__ == "__main__":
    main()
