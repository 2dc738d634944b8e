"""The walkthrough: one module for each chapter, and their helper modules."""
