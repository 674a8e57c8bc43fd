"""Reading structures with labels, training samples, splits and reference energies."""
