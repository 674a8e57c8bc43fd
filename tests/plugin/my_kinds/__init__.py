"""Kinds of models that a package of somebody else brings: each a model and a recipe."""
