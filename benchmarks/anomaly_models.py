"""Every model of the anomaly benchmark under one interface: fit on a table, then mean and spread, or a score.

Peers get standardised descriptors, the same rows and two threads; settings are their library's recommended ones or
those that did best in the field guide's trials on validation.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, IsolationForest
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM
from torch import nn

from ase_mlx.learn.anomaly.calibration import fit_student
from ase_mlx.learn.anomaly.crystals import Crystals
from ase_mlx.learn.batches import TableBatches
from ase_mlx.learn.config import TableFit
from ase_mlx.learn.fit import Stage
from ase_mlx.learn.fit import fit as fit_stage
from ase_mlx.learn.methods import ensemble
from ase_mlx.learn.recipes.crystal_property import train_property
from ase_mlx.models.crystal_property import CrystalProperty, CrystalPropertyConfig
from ase_mlx.nn.ensemble import Ensemble
from ase_mlx.nn.hyper import Scored, negative_log_likelihood
from ase_mlx.nn.terms import Term


@dataclass
class Fitted:
    """What a model says of rows: `mean` and `std` of the target, or `score` alone (larger: more anomalous)."""

    predict: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    score: Callable[[np.ndarray], np.ndarray] | None = None
    seconds: float = 0.0
    parts: list["Fitted"] = field(default_factory=list)
    freedom: float = 1e3


class Heteroscedastic(nn.Module):
    """The plain network: three layers of 128, mean and variance."""

    def __init__(self, features: int):
        super().__init__()
        sizes = [features, 128, 128, 128]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.last = nn.Linear(128, 2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.relu(layer(x))
        mean, log = self.last(x).unbind(-1)
        return mean, log.clamp(-9, 4)


def timed(fit: Callable[..., Fitted]) -> Callable[..., Fitted]:
    def run(*arguments, **options) -> Fitted:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fit(*arguments, **options)
        found.seconds = time.perf_counter() - start
        return found

    return run


def calibrated(predict, val: Crystals, name: str) -> Fitted:
    """Scale a model's standard deviation, and choose the tails, on validation, alike for every model."""
    mean, std = predict(val.rows)
    scale, freedom = fit_student((val.properties[name] - mean) / std)

    def scaled(rows):
        mean, std = predict(rows)
        return mean, scale * std

    return Fitted(scaled, freedom=freedom)


@timed
def ours(train: Crystals, val: Crystals, name: str, seed: int, fit=None, **config) -> Fitted:
    """The hyper-network ensemble; `parts` are its members on their own, each calibrated by itself."""
    fit = TableFit(**{**(vars(fit) if fit else {}), "seed": seed})
    settings = CrystalPropertyConfig((name,), train.elements, **config)
    model = train_property(train, val, settings, fit)
    found = Fitted(lambda rows: _mean_std(model, rows, name), freedom=float(model.freedom[0]))
    for k in range(len(model.networks[0])):
        found.parts.append(calibrated(lambda rows, k=k: _member(model, rows, k), val, name))
    found.model = model
    return found


def _mean_std(model: CrystalProperty, rows, name):
    found = model.table(rows)
    return found[name], found.std[name]


def _member(model: CrystalProperty, rows, k: int):
    scored = model.scored(rows, 0)
    return scored.mean[k].numpy(), (scored.noise[k] + scored.variance[k]).sqrt().numpy()


@timed
def plain(train: Crystals, val: Crystals, name: str, seed: int, members: int = 5, fit=None) -> Fitted:
    """Deep ensemble of plain networks with the same loop, epochs and batches; `parts` are its members."""
    fit = TableFit(**{**(vars(fit) if fit else {}), "seed": seed, "learning_rate": 2e-3, "weight_decay": 0.01})
    torch.manual_seed(seed)
    scaler = StandardScaler().fit(train.rows)
    ready = lambda rows: torch.from_numpy(np.clip(scaler.transform(rows), -5, 5)).float()  # noqa: E731
    y = train.properties[name]
    target = torch.from_numpy((y - y.mean()) / y.std()).float()
    x = ready(train.rows)
    network = Ensemble([Heteroscedastic(x.shape[1]) for _ in range(members)])

    def loss(networks, rows, random):
        mean, log = networks(x[rows.places], own=True)
        scored = Scored(mean, log.exp(), torch.zeros_like(mean), mean)
        nats = negative_log_likelihood(scored, target[rows.places], fit.outliers)
        return {"likelihood": Term(nats.sum(), rows.places.shape[1])}

    table = TableBatches((x, target), members, fit.batch_size, fit.seed)
    fit_stage(Stage(network, loss, table, ensemble(fit)))

    @torch.no_grad()
    def predict(rows, k=None):
        mean, log = network(ready(rows))
        mean, variance = mean.numpy() * y.std() + y.mean(), log.exp().numpy() * y.std() ** 2
        if k is not None:
            return mean[k], np.sqrt(variance[k])
        return mean.mean(0), np.sqrt(variance.mean(0) + mean.var(0))

    found = calibrated(predict, val, name)
    found.parts = [calibrated(lambda rows, k=k: predict(rows, k), val, name) for k in range(members)]
    return found


@timed
def ridge(train: Crystals, val: Crystals, name: str, seed: int) -> Fitted:
    scaler = StandardScaler().fit(train.rows)
    model = RidgeCV(np.logspace(-3, 3, 13)).fit(scaler.transform(train.rows), train.properties[name])
    return Fitted(lambda rows: (model.predict(scaler.transform(rows)), None))


@timed
def gaussian_process(train: Crystals, val: Crystals, name: str, seed: int, points: int = 2000) -> Fitted:
    """Exact: hyperparameters by marginal likelihood on `points` rows, then all rows in one Cholesky factor."""
    random = np.random.default_rng(seed)
    scaler = StandardScaler().fit(train.rows)
    some = random.permutation(len(train))[:points]
    y = train.properties[name]
    center, spread = y.mean(), y.std()
    kernel = ConstantKernel(1.0) * RBF(10.0) + WhiteKernel(0.05)
    small = GaussianProcessRegressor(kernel, random_state=seed)
    small.fit(scaler.transform(train.rows[some]), (y[some] - center) / spread)
    amplitude, length, noise = np.exp(small.kernel_.theta)
    inputs = torch.from_numpy(scaler.transform(train.rows)) / length
    square = torch.exp(-0.5 * torch.cdist(inputs, inputs).square()) * amplitude
    square.diagonal().add_(noise)
    factor = torch.linalg.cholesky(square)
    del square
    weights = torch.cholesky_solve(torch.from_numpy((y - center) / spread)[:, None], factor)

    def predict(rows):
        found = []
        for part in np.array_split(rows, max(1, len(rows) // 1000)):
            k = torch.cdist(torch.from_numpy(scaler.transform(part)) / length, inputs).square()
            k = torch.exp(-0.5 * k) * amplitude
            half = torch.linalg.solve_triangular(factor, k.T, upper=False)
            variance = amplitude + noise - half.square().sum(0)
            found.append(torch.stack([(k @ weights)[:, 0] * spread + center, variance.sqrt() * spread]))
        return torch.cat(found, 1).numpy()

    return calibrated(predict, val, name)


@timed
def boosting(train: Crystals, val: Crystals, name: str, seed: int) -> Fitted:
    model = HistGradientBoostingRegressor(
        max_iter=1000, learning_rate=0.06, l2_regularization=1.0, early_stopping=False, random_state=seed
    ).fit(train.rows, train.properties[name])
    return Fitted(lambda rows: (model.predict(rows), None))


@timed
def classifier(kind: str, train: Crystals, truth: np.ndarray, seed: int) -> Fitted:
    """A classifier of the labels themselves."""
    scaler = StandardScaler().fit(train.rows)
    x = scaler.transform(train.rows)
    if kind == "boosting":
        model = HistGradientBoostingClassifier(max_iter=400, learning_rate=0.08, random_state=seed).fit(x, truth)
    else:
        some = np.random.default_rng(seed).permutation(len(x))[:1000]
        model = GaussianProcessClassifier(1.0 * RBF(10.0), random_state=seed).fit(x[some], truth[some])
    return Fitted(None, lambda rows: model.predict_proba(scaler.transform(rows))[:, 1])


@timed
def detector(kind: str, train: Crystals, seed: int) -> Fitted:
    """A detector that sees descriptors alone."""
    scaler = StandardScaler().fit(train.rows)
    x = scaler.transform(train.rows)
    some = x[np.random.default_rng(seed).permutation(len(x))[:4000]]
    if kind == "isolation forest":
        model = IsolationForest(n_estimators=300, random_state=seed, n_jobs=1).fit(x)
        score = lambda z: -model.score_samples(z)  # noqa: E731
    elif kind == "one-class SVM":
        model = OneClassSVM(nu=0.1).fit(some)
        score = lambda z: -model.decision_function(z)  # noqa: E731
    elif kind == "LOF":
        model = LocalOutlierFactor(20, novelty=True).fit(x)
        score = lambda z: -model.score_samples(z)  # noqa: E731
    elif kind == "ECOD":
        from pyod.models.ecod import ECOD

        model = ECOD().fit(x)
        score = model.decision_function
    else:
        from pyod.models.auto_encoder import AutoEncoder

        model = AutoEncoder(
            hidden_neuron_list=[96, 32], epoch_num=30, batch_size=256, random_state=seed, verbose=0, preprocessing=False
        ).fit(np.clip(x, -8, 8))
        score = lambda z: model.decision_function(np.clip(z, -8, 8))  # noqa: E731
    return Fitted(None, lambda rows: score(scaler.transform(rows)))


DETECTORS = ("isolation forest", "one-class SVM", "LOF", "ECOD", "autoencoder (PyOD)")
