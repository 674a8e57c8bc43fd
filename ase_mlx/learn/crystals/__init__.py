"""Teaching generators of crystals: genes of tables, the latent and its prior.

Source: ours.
"""
