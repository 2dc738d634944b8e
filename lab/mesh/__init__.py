"""The mesh: the only code of `lab` in the images. It imports no other part of `lab`."""
