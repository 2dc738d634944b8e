"""The mesh: the only code that enters images. Imports no other part of `lab`."""
