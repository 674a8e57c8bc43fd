"""Many networks of one build, evaluated and trained at once.

Source: B. Lakshminarayanan et al., NeurIPS 30 (2017); evaluation by `torch.func`.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap


class Ensemble(nn.Module):
    """Members of one build whose weights are stacked, so that one call evaluates all of them.

    Source: see the module.
    """

    def __init__(self, members: list[nn.Module]):
        """Stack the weights of modules of one class and size."""
        super().__init__()
        stacked, _ = stack_module_state(members)
        self.names = list(stacked)
        held = dict(members[0].named_parameters())
        self.stacked = nn.ParameterList(
            [nn.Parameter(stacked[name].detach().clone(), held[name].requires_grad) for name in self.names]
        )
        self.__dict__["plan"] = copy.deepcopy(members[0]).to("meta")  # no submodule: it holds no weights

    def __len__(self) -> int:
        """Count the members."""
        return len(self.stacked[0])

    def forward(self, *arrays: Any, own: bool = False) -> Any:
        """Evaluate every member: the same arrays for all or, with `own`, one slice of the first axis each.

        Returns:
            What one member returns, with the member axis first, in its units.
        """
        return self.call(None, *arrays, own=own)

    def call(self, method: Callable | None, *arrays: Any, own: bool = False) -> Any:
        """Evaluate a method of the members' class instead of `forward`; units as the method's."""

        def one(weights: dict[str, torch.Tensor], *inputs: Any) -> Any:
            if method is None:
                return functional_call(self.plan, weights, inputs)
            return functional_call(_Method(self.plan, method), {f"inner.{k}": v for k, v in weights.items()}, inputs)

        weights = dict(zip(self.names, self.stacked, strict=True))
        return vmap(one, in_dims=(0, *[0 if own else None] * len(arrays)))(weights, *arrays)


class _Method(nn.Module):
    def __init__(self, inner: nn.Module, method: Callable):
        super().__init__()
        self.inner, self.method = inner, method

    def forward(self, *arrays: Any) -> Any:
        return self.method(self.inner, *arrays)
