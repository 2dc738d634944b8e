"""The program istio-iptables: the rules that send a pod's traffic through Envoy."""
