"""Case by case beside real Istio: the injector, the redirection rules, the paths of packets."""
