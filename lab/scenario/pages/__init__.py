"""Pages generated from the chapters: the walkthrough and its pictures."""
