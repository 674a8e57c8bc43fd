"""DeepXDE on two problems of heat conduction; called by `driver.ask` with a request and an answer file.

Conditions are met exactly by a transform of the output, everything is float64, Adam is followed by L-BFGS until it
stops by itself: the settings that DeepXDE's own examples and papers end with.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["DDE_BACKEND"] = "pytorch"

import deepxde as dde  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
dde.config.set_default_float("float64")
dde.config.set_random_seed(0)
ADAM = 2000


def transient() -> tuple:
    """u_t = u_xx on 0 to 1, for 0.1: sin(πx) at the begin, 0 at both ends."""
    geometry = dde.geometry.GeometryXTime(dde.geometry.Interval(0, 1), dde.geometry.TimeDomain(0, 0.1))

    def equation(x, u):
        return dde.grad.jacobian(u, x, i=0, j=1) - dde.grad.hessian(u, x, i=0, j=0)

    def meets(x, u):
        return torch.sin(np.pi * x[:, :1]) + x[:, :1] * (1 - x[:, :1]) * 10 * x[:, 1:] * u

    return geometry, equation, meets


def anisotropic() -> tuple:
    """κ = (2, 1; 1, 0.8) on the unit square, 0 on its edge, heated so that sin(πx) sin(πy) solves it."""
    geometry = dde.geometry.Rectangle([0, 0], [1, 1])

    def equation(x, u):
        xx, yy, xy = (dde.grad.hessian(u, x, i=i, j=j) for i, j in ((0, 0), (1, 1), (0, 1)))
        s, c = (torch.sin(np.pi * x), torch.cos(np.pi * x))
        source = np.pi**2 * (2.8 * s[:, :1] * s[:, 1:] - 2 * c[:, :1] * c[:, 1:])
        return 2 * xx + 0.8 * yy + 2 * xy + source

    def meets(x, u):
        return 16 * x[:, :1] * (1 - x[:, :1]) * x[:, 1:] * (1 - x[:, 1:]) * u

    return geometry, equation, meets


def main() -> None:
    request = json.loads(Path(sys.argv[1]).read_text())
    geometry, equation, meets = {"transient": transient, "anisotropic": anisotropic}[request["task"]]()
    begin = time.process_time()
    data = (dde.data.TimePDE if request["task"] == "transient" else dde.data.PDE)(
        geometry, equation, [], num_domain=1000, train_distribution="Hammersley"
    )
    network = dde.nn.FNN([2, 32, 32, 32, 1], "tanh", "Glorot normal")
    network.apply_output_transform(meets)
    model = dde.Model(data, network)
    model.compile("adam", lr=1e-3)
    model.train(iterations=ADAM, display_every=ADAM)
    dde.optimizers.config.set_LBFGS_options(maxiter=5000, ftol=0, gtol=1e-12)
    model.compile("L-BFGS")
    model.train()
    seconds = time.process_time() - begin
    values = model.predict(np.array(request["points"]))[:, 0]
    weights = sum(p.numel() for p in network.parameters())
    answer = {"values": values.tolist(), "seconds": seconds, "weights": weights, "version": dde.__version__}
    Path(sys.argv[2]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
