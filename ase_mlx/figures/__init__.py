"""Pictures of results as PNG files, by matplotlib; no window, no state of pyplot."""
