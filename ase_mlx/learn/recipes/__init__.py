"""Recipes, one file a kind: what is particular to how its models are taught.

Source: ours.
"""
