"""`python -m lab` is the `lab` command."""

from lab.start import main

if __name__ == "__main__":
    main()
