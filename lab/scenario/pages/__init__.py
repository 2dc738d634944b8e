"""Generates pages from the chapters: the walkthrough and its pictures."""
