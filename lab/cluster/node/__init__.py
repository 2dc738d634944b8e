"""The node: creates it with kind, repairs, pauses and removes it, finds its owner and leftovers."""
