"""Records of a run as terminal lines, JUnit XML and HTML."""
