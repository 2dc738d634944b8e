"""`python3 -m lab.mesh.redirection`: the program istio-iptables."""

from lab.mesh.redirection.program import main

main()
