"""Parser for the output of `route -n` (net-tools)."""

from lab.observe.parsers.text import lines_after, unread
from lab.observe.readings import Route, network


def parse_route(text: str) -> tuple[Route, ...]:
    """Parse the IPv4 routes, in the order of the text.

    Raises ObservationError for a line that is not readable.
    """
    routes = []
    for row in lines_after(text, "Destination", "Gateway", "Genmask"):
        words = row.split()
        if len(words) != 8 or not words[4].isdigit():
            raise unread("route", row)
        target, gateway, mask, flags, metric, _, _, interface = words
        try:
            destination = network(target, mask)
        except ValueError as bad:
            raise unread("route", row) from bad
        routes.append(
            Route(
                destination=destination,
                gateway=gateway if "G" in flags else None,
                interface=interface,
                flags=flags,
                metric=int(metric),
            )
        )
    return tuple(routes)
