"""Notes what the lab changes on this machine outside its own folders, and undoes these changes."""
