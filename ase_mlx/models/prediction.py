"""What a model gives: arrays by the names of quantities, with error bars where they are known.

Source: ours.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from ase_mlx.quantities import ALL

NOT_MEASURED = (
    "a bar against DFT needs std=True, a structure with a volume and a model whose card has `errors_against_dft`; "
    "where the labels are DFT, as `level_of_theory` of the card says, `std` is that bar"
)


class _Members(dict[str, Any]):
    """Values of all members by name; what is not there may have to be asked for."""

    def __missing__(self, name: str) -> Any:
        raise KeyError(
            f"got {name!r}, but members are here of {', '.join(self) or 'nothing'}; a potential gives those of forces "
            "and stress with am.predict(..., members=True)"
        )


class _ErrorBars(dict[str, Any]):
    """Standard deviations by name, which say why one is not known."""

    def __init__(self, std: Mapping[str, Any], why: str):
        super().__init__(std)
        self.why = why

    def __missing__(self, name: str) -> Any:
        listed = f"known are those of {', '.join(self)}" if self else "none is known"
        raise KeyError(
            f"got {name!r}, whose standard deviation is not known here; {listed}{self.why and f': {self.why}'}"
        )


class Prediction(Mapping[str, Any]):
    """A read-only map from quantity names to arrays in the package's units (eV, Å, eV/Å, eV/Å³).

    `std` maps the same names to calibrated standard deviations and `members` to the values of every ensemble member,
    member axis first; a name is absent there where nothing is known, never zero. `note` says why, where one may wonder.
    `std_parts` has the two parts of the standard deviations, whose squares add up to theirs. `std_dft` is against DFT
    rather than against labels that are not DFT; it is absent where the error of the labels was not measured.

    Source: ours.
    """

    __slots__ = ("_values", "members", "noise", "note", "std", "std_dft")

    def __init__(
        self,
        values: Mapping[str, Any],
        std: Mapping[str, Any] | None = None,
        members: Mapping[str, Any] | None = None,
        note: str = "",
        noise: Mapping[str, Any] | None = None,
        std_dft: Mapping[str, Any] | None = None,
    ):
        """Wrap arrays in the package's units; `noise` is the aleatoric part of those deviations that have one."""
        self._values = MappingProxyType(dict(values))
        self.std: Mapping[str, Any] = MappingProxyType(_ErrorBars(std or {}, note))
        self.members: Mapping[str, Any] = MappingProxyType(_Members(members or {}))
        self.note = note
        self.noise: Mapping[str, Any] = _ErrorBars(noise or {}, note or "the model does not tell the parts apart")
        self.std_dft: Mapping[str, Any] = MappingProxyType(_ErrorBars(std_dft or {}, NOT_MEASURED))

    @property
    def std_parts(self) -> dict[str, Mapping[str, Any]]:
        """Standard deviations apart (units as `std`): "epistemic", which more data lower, and "aleatoric", which stays.

        Aleatoric is what neither the members nor the distance from the training data explain: noise of the labels, and
        what the model cannot express. A name is absent where the parts are not known.
        """
        rest = {name: (self.std[name] ** 2 - noise**2).clip(0) ** 0.5 for name, noise in self.noise.items()}
        return {"epistemic": _ErrorBars(rest, self.noise.why), "aleatoric": self.noise}

    def __getitem__(self, name: str) -> Any:
        """Return one quantity, or say which there are."""
        if name not in self._values:
            field = name in ALL and ALL[name].per == "point"
            hint = ": a field is predicted at points, such as am.predict(..., at=am.grid(atoms, spacing=0.2))"
            raise KeyError(f"got {name!r}, but this prediction holds {', '.join(self._values)}{hint if field else ''}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the quantities."""
        return len(self._values)

    def __repr__(self) -> str:
        """List the names and which of them have an error bar."""
        names = ", ".join(n + (" ± std" if n in self.std else "") for n in self)
        return f"Prediction({names}{self.note and f'; {self.note}'})"


def as_tensors(prediction: Prediction) -> Prediction:
    """Wrap a prediction's numpy arrays in torch tensors (same units), as every model returns them.

    Source: ours.
    """
    wrap = lambda arrays: {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}  # noqa: E731
    arrays = (prediction, prediction.std, prediction.members, prediction.noise, prediction.std_dft)
    values, std, members, noise, std_dft = map(wrap, arrays)
    return Prediction(values, std, members, prediction.note, noise, std_dft)
