"""The walkthrough, one module a chapter."""
