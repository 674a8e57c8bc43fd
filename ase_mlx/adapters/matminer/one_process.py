"""What all featurizers here share: they work in one process, whatever is asked, and name the row that failed.

Those whose models gain by it evaluate many structures at once.

Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
"""

import abc
import math
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from multiprocessing import get_start_method
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms
from jaxtyping import Shaped
from matminer.featurizers.base import BaseFeaturizer
from tqdm.auto import tqdm

from ase_mlx.adapters.matminer.structures import formula, to_atoms
from ase_mlx.models.extrapolation import once

TOGETHER = 256
"""Structures that are evaluated at once."""

NAMED = 3
"""Rows that a warning names."""

OURS = """@software{{ase_mlx,
  author = {{ase_mlx developers}},
  title = {{ase_mlx: learned energies, forces and stresses with error bars for ASE and phonopy}},
  version = {{{version}}}
}}"""


def ours() -> str:
    """Cite this package in BibTeX (text).

    Source: ours.
    """
    return OURS.format(version=version("ase-mlx"))


class OneProcess(BaseFeaturizer, abc.ABC):
    """A featurizer that matminer does not fork: a forked network may hang.

    Source: ours.
    """

    _failures: list[Exception | None] | None = None
    """What became of each row of the table in work, None where it has numbers."""

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

    def featurize_many(
        self, entries, ignore_errors: bool = False, return_errors: bool = False, pbar=True
    ) -> list[list]:
        """Compute rows as matminer does; one warning says what share of the table's environments is extrapolation.

        Another one says how many rows have no numbers, where errors are ignored; units as `featurize`.

        Source: after matminer's `BaseFeaturizer.featurize_many`.
        """
        self._failures = []
        try:
            with once():
                rows = super().featurize_many(entries, ignore_errors, return_errors, pbar)
            errors = {k: error for k, error in enumerate(self._failures) if error is not None}
        finally:
            self._failures = None
        if errors:
            warnings.warn(self._summary(errors, len(rows), return_errors), stacklevel=2)
        return rows

    def featurize_wrapper(self, x, return_errors: bool = False, ignore_errors: bool = False) -> list:
        """Compute one row, or NaN where it fails and errors are to be ignored; units as `featurize`.

        Matminer's own ignores Ctrl-C as well, and a calculator that serves no row at all.

        Raises:
            ValueError: as the class; that is no failure of one row.

        Source: after matminer's `BaseFeaturizer.featurize_wrapper`.
        """
        self.check()
        row, failure = None, None
        try:
            row = self.featurize(*x)
        except Exception as error:
            if not ignore_errors:
                raise
            failure = error
        if self._failures is not None:
            self._failures.append(failure)
        elif failure is not None:
            warnings.warn(self._summary({0: failure}, 1, return_errors), stacklevel=2)
        if row is None:
            failed = [math.nan] * len(self.feature_labels())
            return [*failed, "".join(traceback.format_exception(failure))] if return_errors else failed
        return [*row, math.nan] if return_errors else row

    def _summary(self, errors: dict[int, Exception], count: int, in_column: bool) -> str:
        where = f"in the column '{type(self).__name__} Exceptions'" if in_column else "given with return_errors=True"
        if count == 1:  # within a MultipleFeaturizer, so its place is not known here
            return (
                f"{type(self).__name__}: a row has no numbers and is NaN: {_plain(errors[0])}. All reasons are {where}."
            )
        first = "; ".join(f"row {place}: {_plain(error)}" for place, error in list(errors.items())[:NAMED])
        more = f"; and {len(errors) - NAMED} more" if len(errors) > NAMED else ""
        are = "row of {} has no numbers and is" if len(errors) == 1 else "rows of {} have no numbers and are"
        return f"{type(self).__name__}: {len(errors)} {are.format(count)} NaN: {first}{more}. All reasons are {where}."


def named(error: Exception, name: str) -> Exception:
    """Put the formula before an error's message; matminer, too, makes errors anew, from their message alone.

    Source: ours.
    """
    try:
        return type(error)(f"{name}: {error}")
    except TypeError:
        return RuntimeError(f"{name}: {type(error).__name__}: {error}")


def _plain(error: Exception) -> str:
    return str(error).removesuffix(".")


def _not_across_a_fork(featurizer: OneProcess):
    """Refuse the way into a forked pool, which is where MultipleFeaturizer's own processes would take it."""
    if get_start_method() == "fork":
        raise RuntimeError(
            f"{type(featurizer).__name__} does not run in forked processes, where a network may hang: call "
            "set_n_jobs(1) on the MultipleFeaturizer, or make it with iterate_over_entries=False."
        )
    return featurizer.__reduce_ex__(2)


class RowByRow(OneProcess):
    """A featurizer that computes one structure after the other.

    Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
    """

    @abc.abstractmethod
    def _row(self, atoms: Atoms) -> list:
        """Compute one row from atoms in Å."""

    @once()
    def featurize(self, structure: Any) -> list:
        """Compute one row.

        Args:
            structure: a pymatgen Structure or ASE Atoms, Å.

        Returns:
            Values in the order and units of `feature_labels`; the class says them.

        Raises:
            TypeError: neither a pymatgen Structure nor ASE Atoms.
            ValueError: partial occupancy, or a structure that the class is not for, such as one without a volume.
            RuntimeError: a relaxation or the calculator failed. Every message begins with the formula.

        Source: as the class.
        """
        try:
            return self._row(to_atoms(structure))
        except Exception as error:
            raise named(error, formula(structure)) from error


class Batched(OneProcess):
    """A featurizer that evaluates up to 256 structures at once, and lets a row that fails cost itself alone.

    A warning says how many rows have no numbers, and why, also where errors are ignored. Within a `MultipleFeaturizer`
    that iterates over entries, structures come one by one: the same numbers, but slower.

    Source: ours, on matminer (L. Ward et al., Comput. Mater. Sci. 152, 60 (2018)).
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """What one row consists of.

        Source: ours.
        """
        return ("structure",)

    @property
    def most_atoms(self) -> int:
        """Atoms that are evaluated at once, but for a structure that has more.

        Source: ours.
        """
        return 8192

    @abc.abstractmethod
    def _prepare(self, *entry: Any) -> tuple[Any, ...]:
        """Turn one row into its graph and what else it needs, or say why it cannot be one."""

    @abc.abstractmethod
    def _evaluate(self, prepared: list[tuple[Any, ...]]) -> list[list]:
        """Compute rows together, none of which depends on another."""

    def featurize(self, structure: Any) -> list:
        """Compute one row.

        Args:
            structure: a pymatgen Structure or ASE Atoms, Å.

        Returns:
            Values in the order and units of `feature_labels`; the class says them.

        Raises:
            TypeError: neither a pymatgen Structure nor ASE Atoms.
            ValueError: partial occupancy, an unknown element, no physical structure. Messages begin with the formula.

        Source: as the class.
        """
        return self._many([(structure,)], False, False)[0]

    def featurize_many(
        self,
        entries: Sequence | np.ndarray | pd.Series | pd.DataFrame,
        ignore_errors: bool = False,
        return_errors: bool = False,
        pbar: bool | dict = True,
    ) -> list[list]:
        """Compute rows, many at once.

        Args:
            entries: one structure (Å) a row, or a tuple of what the featurizer takes.
            ignore_errors: rows that fail are NaN throughout, and a warning says how many and why; else they raise.
            return_errors: the traceback of a row that failed, else NaN, is one more feature.
            pbar: show a progress bar; or its options.

        Returns:
            One list a row, in the order and units of `feature_labels`.

        Raises:
            ValueError: `return_errors` without `ignore_errors`, rows with too few or too many inputs, a row that fails.
            TypeError: entries that are no list.

        Source: after matminer's `BaseFeaturizer.featurize_many`.
        """
        if return_errors and not ignore_errors:
            raise ValueError("got return_errors without ignore_errors, expected both: a row that fails would raise")
        options = pbar if isinstance(pbar, dict) else {"disable": not pbar}
        return self._many(_tuples(entries), ignore_errors, return_errors, options)

    def featurize_wrapper(self, x, return_errors: bool = False, ignore_errors: bool = False) -> list:
        """Compute one row as `featurize_many` does; units as there.

        Raises:
            ValueError: the wrong number of inputs, or as the class; that is no failure of one row.

        Source: after matminer's `BaseFeaturizer.featurize_wrapper`.
        """
        return self._many([tuple(x)], ignore_errors, return_errors)[0]

    def precheck(self, *entry: Any) -> bool:
        """Say whether a row is a structure that the model knows; only its environment is computed (cutoff in Å).

        Source: after matminer's `BaseFeaturizer.precheck`.
        """
        try:
            self._prepare(*entry)
        except Exception:
            return False
        return True

    def _many(self, entries: list[tuple], ignore: bool, tell: bool, options: dict | None = None) -> list[list]:
        self.check()
        rows: dict[int, list] = {}
        failed: dict[int, Exception] = {}
        options = {"desc": type(self).__name__, "disable": not options} | (options or {})
        with tqdm(total=len(entries), **options) as bar, once(stacklevel=4):
            for group in self._groups(entries, failed):
                if ignore or not failed:
                    rows |= self._evaluated(group, failed)
                if failed and not ignore:
                    break
                bar.update(len(rows) + len(failed) - bar.n)
        errors = {place: named(failed[place], formula(entries[place][0])) for place in sorted(failed)}
        for place, error in errors.items():
            error.__cause__ = failed[place]
            if not ignore and len(entries) > 1:
                error.add_note(f"in row {place} of {len(entries)}, counted from 0; ignore_errors=True skips such rows")
            if not ignore:
                raise error
        if errors:
            warnings.warn(self._summary(errors, len(entries), tell), stacklevel=4)
        nothing = [math.nan] * len(self.feature_labels())
        for place, error in errors.items():
            rows[place] = [*nothing, "".join(traceback.format_exception(error))] if tell else list(nothing)
        return [rows[k] if not tell or k in errors else [*rows[k], math.nan] for k in range(len(entries))]

    def _groups(self, entries: list[tuple], failed: dict[int, Exception]) -> Iterator[dict[int, tuple]]:
        """Cut rows into groups to evaluate together; those that cannot be prepared go to `failed`."""
        group: dict[int, tuple] = {}
        atoms = 0
        for place, entry in enumerate(entries):
            if len(entry) != len(self.inputs):
                raise ValueError(
                    f"got {len(entry)} inputs in row {place}, expected {len(self.inputs)}: {', '.join(self.inputs)}; "
                    f"name as many columns, as in col_id={list(self.inputs)}"
                )
            try:
                item = self._prepare(*entry)
            except Exception as error:
                failed[place] = error
                continue
            size = len(item[0].numbers)
            if group and (len(group) == TOGETHER or atoms + size > self.most_atoms):
                yield group
                group, atoms = {}, 0
            group[place] = item
            atoms += size
        yield group

    def _evaluated(self, group: dict[int, tuple], failed: dict[int, Exception]) -> dict[int, list]:
        """Rows by their place; where a group fails, halves of it are tried, until one row is the reason."""
        if not group:
            return {}
        try:
            return dict(zip(group, self._evaluate(list(group.values())), strict=True))
        except Exception as error:
            if len(group) == 1:
                failed[next(iter(group))] = error
                return {}
        items = list(group.items())
        half = len(items) // 2
        return self._evaluated(dict(items[:half]), failed) | self._evaluated(dict(items[half:]), failed)


def _tuples(entries: Any) -> list[tuple]:
    """Read rows as matminer does: one input each, unless the first is a tuple, list or array of them."""
    if not isinstance(entries, (tuple, list, np.ndarray, pd.Series, pd.DataFrame)):
        raise TypeError(f"got {type(entries).__name__}, expected a list of structures; for one, call featurize")
    if isinstance(entries, pd.DataFrame):
        entries = entries.to_numpy()
    several = (tuple, list, np.ndarray)
    if len(entries) == 0 or isinstance(entries, pd.Series) or not isinstance(entries[0], several):
        return [(entry,) for entry in entries]
    return [tuple(entry) if isinstance(entry, several) else (entry,) for entry in entries]
