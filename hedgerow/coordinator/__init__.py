"""Running a federation: a gateway in front of the SuperLink, its members, and the supervisor."""
