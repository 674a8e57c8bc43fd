"""The runtime checker behind the shape and type annotations: an int is a float, as Python's users expect."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
