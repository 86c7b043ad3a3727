"""The user's own models: any function that returns a module, its transform and its class names."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from etl.explain.logits import logits_of
from etl.models import LoadedModel, ModelError
from etl.preprocess import Preprocessing, from_torchvision
from warehouse.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class PythonModels:
    """``python:package.module:factory``.

    The factory is called without arguments and returns ``(module, transform, class_names)``:

    - ``module``: a ``torch.nn.Module`` from normalised images (B, 3, H, W) to logits (B, N);
    - ``transform``: from a PIL image to a float tensor (3, H, W), such as ``weights.transforms()`` or a torchvision
      ``Compose``; or an :class:`etl.preprocess.Preprocess`;
    - ``class_names``: N names in the order of the outputs, or None.
    """

    name = "python"
    description = "your own: python:package.module:factory, a function that returns (module, transform, class_names)"

    def available(self) -> str | None:
        """None: it needs nothing."""
        return None

    def names(self) -> Sequence[str]:
        """Empty: there is no list of what users write."""
        return []

    def fingerprint(self, name: str) -> str | None:  # noqa: ARG002 - the protocol has it
        """None: only the loaded model tells."""
        return None

    def load(self, name: str) -> LoadedModel:
        """Call the factory; see :class:`etl.models.ModelProvider`."""
        where = f"python:{name}"
        try:
            made = _factory(name)()
        except UserError:
            raise
        except Exception as error:
            raise ModelError(f"{where} failed: {type(error).__name__}: {error}") from error
        if not isinstance(made, (tuple, list)) or len(made) != 3 or not isinstance(made[0], nn.Module):
            raise ModelError(f"{where} must return (module, transform, class_names), with a torch.nn.Module first.")
        module, transform, names = made
        if not callable(transform) and not isinstance(transform, Preprocessing):
            raise ModelError(f"{where} must return a callable transform as its second value.")
        preprocess = transform if isinstance(transform, Preprocessing) else from_torchvision(transform)
        # A copy: the user may go on using the module, and running it casts and moves it.
        module = copy.deepcopy(module).to("cpu", torch.float32).eval()
        outputs = _count_outputs(module, preprocess, where)
        if names is not None and len(names) != outputs:
            raise ModelError(f"{where} returns {len(names)} class names for a module with {outputs} outputs.")
        return LoadedModel(
            module=module,
            preprocess=preprocess,
            outputs=outputs,
            family=type(module).__name__,
            class_names=None if names is None else tuple(str(n) for n in names),
        )


def _factory(name: str) -> Callable[[], Any]:
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise ModelError(f"python:{name} does not name a factory; write python:package.module:factory.")
    here = str(Path.cwd())
    # The console script does not look into the working folder, where people keep such modules; python -m does.
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    finally:
        if added:
            sys.path.remove(here)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        raise ModelError(f"The module {module_name} has no function {attribute!r}.")
    found: Callable[[], Any] = factory
    return found


def _count_outputs(module: nn.Module, preprocess: Preprocessing, where: str) -> int:
    side = preprocess.input_size or 256
    try:
        pixels = preprocess.pixels(Image.new("RGB", (side, side), (124, 116, 104)))
        with torch.inference_mode():
            return int(logits_of(module(preprocess.batch(pixels[None])), 1).shape[1])
    except UserError as error:
        raise ModelError(f"{where}: {error}") from error
    except Exception as error:
        raise ModelError(f"{where} failed on a grey image: {type(error).__name__}: {error}") from error
