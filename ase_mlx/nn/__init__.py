"""Bricks that know no physics name: radial bases, equivariant convolutions, readouts, repulsion."""
