"""The program that injects pods on admission: the injector behind HTTPS."""
