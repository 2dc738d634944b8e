"""After a failure: which link broke first, the evidence, and a bundle to keep."""
