"""Analysis of a failure: the first broken link, the evidence for it, and a bundle of files."""
