"""What the lab changes on this machine outside its own folders: noted first, undone exactly."""
