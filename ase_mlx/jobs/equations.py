"""What all jobs share that solve an equation by a network.

Source: ours.
"""

from pathlib import Path
from typing import Any

from ase_mlx.learn.fit import fit
from ase_mlx.learn.recipe import Recipe
from ase_mlx.learn.run import run
from ase_mlx.progress import Progress


def fitted(recipe: Recipe, folder: str | Path | None, progress: Progress | None) -> tuple[Any, dict[str, Any]]:
    """Fit the model of a recipe, in a folder or nowhere; gives it and the lines of its card (units as they say).

    Source: ours.
    """

    def report(p) -> None:
        if progress is not None:
            progress(p.stage or "steps", p.epoch, p.epochs)

    if folder is not None:
        return run(recipe, Path(folder), report)
    recipe.epochs = {}
    for stage in recipe.stages():
        recipe.epochs[stage.name] = fit(stage, None, report)[-1]["epoch"]
    return recipe.model, recipe.finish()
