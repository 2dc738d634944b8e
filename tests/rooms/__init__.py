"""The drawing of the rooms, docs/rooms.svg: made from the code and its import contracts."""
