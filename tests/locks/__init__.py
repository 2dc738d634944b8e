"""Whether every lock that a host installs can be installed on every host that we name."""
