"""Creates, repairs, pauses and removes the lab's node; finds a name's owner and leftovers."""
