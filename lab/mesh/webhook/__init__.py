"""The program that injects on admission: the injector behind HTTPS."""
