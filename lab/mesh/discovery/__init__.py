"""The program discovery: watches the cluster and sends every sidecar its configuration over xDS."""
