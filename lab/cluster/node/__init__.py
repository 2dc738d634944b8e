"""Creates the lab's node with kind, repairs, pauses and removes it; finds owner and leftovers."""
