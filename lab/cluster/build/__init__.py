"""From sources and packages to programs, root file systems and images, cached by their inputs."""
