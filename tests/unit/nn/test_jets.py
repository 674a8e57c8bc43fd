"""Derivatives by hand against autograd: of networks by coordinates, and of both by every weight."""

import pytest
import torch
from torch.func import functional_call, jacfwd, jacrev

from ase_mlx.nn.jets import SeparableNetwork, WaveNetwork

NETWORKS = {
    "all coordinates": lambda: WaveNetwork(3, 2, 5, 2, 2.0),
    "separable": lambda: SeparableNetwork(3, 2, 4, 5, 2, 2.0),
    "one coordinate": lambda: SeparableNetwork(1, 3, 4, 5, 1, 2.0),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    network = NETWORKS[request.param]()
    inputs = 1 if request.param == "one coordinate" else 3
    return network, torch.rand(6, inputs, dtype=torch.float64)


def test_slopes_are_those_of_autograd(network):
    network, s = network
    s.requires_grad_(True)
    value = network(s)
    slopes = [torch.autograd.grad(value[:, k].sum(), s, retain_graph=True)[0] for k in range(value.shape[1])]
    jet = network.jet(s)
    torch.testing.assert_close(jet[0], value)
    torch.testing.assert_close(jet[1], torch.stack(slopes, -1))


class Rows(torch.nn.Module):
    def __init__(self, network, by_value, by_slope):
        super().__init__()
        self.network, self.by_value, self.by_slope = network, by_value, by_slope

    def forward(self, s):
        value, slope = self.network.jet(s)
        return (self.by_value * value[:, None]).sum(-1) + (self.by_slope * slope[:, None]).sum((-1, -2))


def test_rows_by_weights_are_those_of_autograd(network):
    network, s = network
    value, slope = (part.detach() for part in network.jet(s))
    by_value = torch.randn(len(s), 4, value.shape[1], dtype=torch.float64)
    by_slope = torch.randn(len(s), 4, *slope.shape[1:], dtype=torch.float64)
    rows = Rows(network, by_value, by_slope)
    weights = dict(rows.named_parameters())
    expected = jacrev(lambda weights: functional_call(rows, weights, (s,)))(weights)
    flat = torch.cat([expected[name].flatten(2) for name in weights], -1)
    torch.testing.assert_close(network.rows(s, by_value, by_slope).detach(), flat.detach())


def test_curvatures_are_those_of_autograd_and_can_be_differentiated_by_weights():
    torch.manual_seed(0)
    network, s = WaveNetwork(2, 3, 5, 2, 2.0), torch.rand(4, 2, dtype=torch.float64)
    value, slope, curvature = network.curvatures(s)
    torch.testing.assert_close((value, slope), network.jet(s))
    for n in range(4):
        for k in range(3):
            hessian = torch.autograd.functional.hessian(lambda x, k=k: network(x[None])[0, k], s[n])
            torch.testing.assert_close(curvature[n, :, :, k], hessian)
    weights = dict(network.named_parameters())

    class Curvature(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, s):
            return self.network.curvatures(s)[2]

    def of(weights):
        return functional_call(Curvature(), {f"network.{name}": w for name, w in weights.items()}, (s,))

    by = jacfwd(of)(weights)["weights.0"][..., 1, 0]
    step, first = 1e-6, weights["weights.0"].detach()
    move = torch.zeros_like(first)
    move[1, 0] = step
    ends = [of(weights | {"weights.0": first + sign * move}) for sign in (1, -1)]
    torch.testing.assert_close(by, (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_second_derivatives_of_all_networks_and_rows_of_them_are_those_of_autograd(network):
    network, s = network
    for n in range(3):
        for k in range(network(s).shape[1]):
            hessian = torch.autograd.functional.hessian(lambda x, k=k: network(x[None])[0, k], s[n])
            torch.testing.assert_close(network.curvatures(s)[2][n, :, :, k], hessian)
    points, outputs, inputs = len(s), network(s).shape[1], s.shape[1]
    shapes = ((outputs,), (inputs, outputs), (inputs, inputs, outputs))
    by_value, by_slope, by_bent = (torch.rand(points, 2, *shape, dtype=torch.float64) for shape in shapes)
    by_bent = by_bent + by_bent.transpose(2, 3)

    class Bent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, s):
            value, slope, bent = self.network.curvatures(s)
            rows = torch.einsum("nko,no->nk", by_value, value) + torch.einsum("nkdo,ndo->nk", by_slope, slope)
            return rows + torch.einsum("nkdeo,ndeo->nk", by_bent, bent)

    weights = {f"network.{name}": p for name, p in network.named_parameters()}
    expected = jacrev(lambda weights: functional_call(Bent(), weights, (s,)))(weights)
    flat = torch.cat([expected[name].flatten(2) for name in weights], -1)
    torch.testing.assert_close(network.rows(s, by_value, by_slope, by_bent).detach(), flat.detach())
