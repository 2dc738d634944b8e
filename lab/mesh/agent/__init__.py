"""The program pilot-agent: starts Envoy and watches it, carries xDS, answers kubelet."""
