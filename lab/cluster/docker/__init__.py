"""Docker: the client, the daemon that the lab starts, what answers, how it gets here."""
