"""Networks for models that were never trained, so that maps can be computed for them; this needs torch.

A network is a torchvision classifier with random weights, saved as a checkpoint, and the model's name leads to it: it
is loaded, checked and explained as any user's checkpoint is. What it computes has nothing to do with the answers drawn
for its model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from etl.models import resolve
from etl.probe import probe

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.synthetic.model import SyntheticModel
    from benchmarks.synthetic.world import World

ARCHITECTURE = "shufflenet_v2_x0_5"
"""Of all networks: no other in torchvision takes fewer operations."""

SPREAD = 2.0  # of the logarithm of a class' weights: some twenty of the thousand channels decide what its map shows


def with_network(model: SyntheticModel, world: World, folder: Path) -> SyntheticModel:
    """Draw and save a network; return the model with a card that leads to it.

    Parameters
    ----------
    model
        Of this world. What it costs and what it says stay as they were drawn.
    world
        Tells the seed and the number of outputs.
    folder
        Where the checkpoint goes; made if need be.
    """
    file = folder / f"{model.card['label']}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    network = torchvision.models.get_model(ARCHITECTURE, weights=None, num_classes=len(world.table))
    _draw_weights(network, np.random.default_rng([world.seed, 6, model.number]))
    save_file(network.state_dict(), file)
    found = resolve(f"torchvision:{ARCHITECTURE}@{file}")
    loaded = found.load()
    side = loaded.preprocess.input_size or 224
    facts = probe(loaded, loaded.preprocess.pixels(Image.new("RGB", (side, side)))[None])
    of_network = {
        "key": f"{model.card['source']}-{model.card['label']}-{facts.weights_sha256[:12]}",
        "model": found.canonical,
        "source": found.provider.name,
        "input_size": facts.input_size,
        "weights_sha256": facts.weights_sha256,
        "preprocess": loaded.preprocess.fingerprint(),
        "layer": facts.explanation_layer,
    }
    return replace(model, card=model.card | of_network)


@torch.no_grad()
def _draw_weights(network: nn.Module, rng: np.random.Generator) -> None:
    """Draw all weights anew: torch's numbers may change with its version, and activations fade with its variances."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            # After all but the depthwise convolutions comes a ReLU, which takes half of the variance.
            gain = 1 if layer.groups > 1 else 2
            weight = rng.normal(0, np.sqrt(gain / layer.weight[0].numel()), layer.weight.shape)
        elif isinstance(layer, nn.Linear):
            # None is negative: whatever class is explained, there are places that speak for it, and no map is empty.
            weight = rng.lognormal(0, SPREAD, layer.weight.shape)
            weight /= weight.sum(axis=1, keepdims=True)  # or one class would be all that it sees
            layer.bias.zero_()
        else:
            continue
        layer.weight.copy_(torch.from_numpy(weight))
