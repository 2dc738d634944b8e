"""The program istio-iptables: sets the rules that send a pod's traffic through Envoy."""
