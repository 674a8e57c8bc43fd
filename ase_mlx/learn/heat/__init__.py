"""What is fitted of a field of temperature: points, rows, sensors."""
