"""Text of manifests to documents and back, and what an API server takes of their fields."""
