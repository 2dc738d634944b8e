"""Reports of a run: terminal lines, JUnit XML and HTML, made from its records."""
