"""What `ase info --plugins` lists of us.

Source: ASE 3.29's plugin collection.
"""

from ase._4.plugins.plugin import CalculatorPlugin

__ase_plugins__ = {
    CalculatorPlugin(
        name="ase_mlx",
        citation="ase_mlx developers, ase_mlx: learned potentials with error bars for ASE (2026)",
        implementation="ase_mlx.adapters.ase.calculator.Calculator",
    )
}
