"""What the sessions of noxfile.py share: each leaves a log, and the last lines say what failed."""
