"""The mesh: the only code that goes into images. It imports no other part of `lab`."""
