"""Calls the Docker client, judges the daemon, and installs or starts Docker if it is missing."""
