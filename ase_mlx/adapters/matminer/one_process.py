"""What all featurizers here share: they work in one process, whatever is asked, and name the row that failed.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
"""

import abc
import math
import sys
import traceback
import warnings
from importlib.metadata import version
from multiprocessing import get_start_method
from multiprocessing.reduction import ForkingPickler

import numpy as np
from jaxtyping import Shaped
from matminer.featurizers.base import BaseFeaturizer

OURS = """@software{{ase_mlx,
  author = {{ase_mlx developers}},
  title = {{ase_mlx: learned energies, forces and stresses with error bars for ASE and phonopy}},
  version = {{{version}}}
}}"""


def ours() -> str:
    """Cite this package in BibTeX (dimensionless text).

    Source: ours.
    """
    return OURS.format(version=version("ase-mlx"))


class OneProcess(BaseFeaturizer, abc.ABC):
    """A featurizer that matminer does not fork: a forked network may hang.

    Source: ours.
    """

    def __init_subclass__(cls, **options):
        """Refuse the way of each featurizer into a forked pool."""
        super().__init_subclass__(**options)
        ForkingPickler.register(cls, _not_across_a_fork)

    @abc.abstractmethod
    def check(self) -> None:
        """Refuse arguments without meaning (each featurizer's units).

        Raises:
            ValueError: naming them.
        """

    def get_feature_names_out(self, input_features=None) -> Shaped[np.ndarray, " features"]:
        """Give `feature_labels` (dimensionless text) as scikit-learn asks for it.

        Source: ours.
        """
        return np.array(self.feature_labels(), dtype=object)

    def implementors(self) -> list[str]:
        """Name who wrote this.

        Source: ours.
        """
        return ["ase_mlx developers"]

    @property
    def n_jobs(self) -> int:
        """One, always.

        Source: ours.
        """
        return 1

    def set_n_jobs(self, n_jobs: int) -> None:
        """Warn where more than one process is asked for, and stay at one; matminer would fork the network.

        Source: ours.
        """
        if n_jobs != 1:
            warnings.warn(
                f"{type(self).__name__} stays at one process, got n_jobs={n_jobs}: a forked network may hang. Give the "
                "calculator more threads or a GPU instead.",
                stacklevel=2,
            )

    def featurize_wrapper(self, x, return_errors: bool = False, ignore_errors: bool = False) -> list:
        """Compute one row, or NaN where it fails and errors are to be ignored; units as `featurize`.

        Matminer's own ignores Ctrl-C as well, and a calculator that serves no row at all.

        Raises:
            ValueError: as the class; that is no failure of one row.

        Source: after matminer's `BaseFeaturizer.featurize_wrapper`.
        """
        self.check()
        try:
            row = self.featurize(*x)
        except Exception:
            if not ignore_errors:
                raise
            failed = [math.nan] * len(self.feature_labels())
            return [*failed, "".join(traceback.format_exception(*sys.exc_info()))] if return_errors else failed
        return [*row, math.nan] if return_errors else row


def named(error: Exception, name: str) -> Exception:
    """Put the formula before an error's message; matminer, too, makes errors anew, from their message alone.

    Source: ours.
    """
    try:
        return type(error)(f"{name}: {error}")
    except TypeError:
        return RuntimeError(f"{name}: {type(error).__name__}: {error}")


def _not_across_a_fork(featurizer: OneProcess):
    """Refuse the way into a forked pool, which is where MultipleFeaturizer's own processes would take it."""
    if get_start_method() == "fork":
        raise RuntimeError(
            f"{type(featurizer).__name__} does not run in forked processes, where a network may hang: call "
            "set_n_jobs(1) on the MultipleFeaturizer, or make it with iterate_over_entries=False."
        )
    return featurizer.__reduce_ex__(2)
