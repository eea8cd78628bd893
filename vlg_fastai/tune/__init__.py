"""Search options of train.py with Optuna, and test honestly whether the search gained anything."""
