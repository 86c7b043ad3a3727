"""The embedded demo's networks: the paper's thirteen architectures, narrowed and trained on pictograms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.demo import architectures, zoo
from etl.demo.glyphs import CLASSES
from etl.models import LoadedModel, ModelError
from etl.models.checkpoints import file_sha256
from etl.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence


class DemoModels:
    """``demo:resnet18`` and twelve others; their weights are part of the package."""

    name = "demo"
    description = "thirteen small CNNs trained on the embedded demo's pictograms; part of vacpanel"

    def available(self) -> str | None:
        """None if any weights are shipped."""
        return None if self.names() else "its weights are missing; train them with: python -m etl.demo.train"

    def names(self) -> Sequence[str]:
        """Return the architectures whose weights are there."""
        return [n for n in architectures.ARCHITECTURES if (zoo.WEIGHTS / f"{n}.safetensors").is_file()]

    def load(self, name: str) -> LoadedModel:
        """Load a model; see :class:`etl.models.ModelProvider`."""
        try:
            module = zoo.load(name)
        except (ValueError, FileNotFoundError) as error:
            raise ModelError(f"demo:{name} cannot be loaded: {error}") from error
        return LoadedModel(
            module=module,
            preprocess=_preprocess(),
            outputs=len(CLASSES),
            family=architectures.family(name),
            class_names=tuple(c.class_name for c in CLASSES),
        )

    def fingerprint(self, name: str) -> str | None:
        """Return the hash of the weights' file, and the preprocessing."""
        return f"{file_sha256(zoo.WEIGHTS / f'{name}.safetensors')} {_preprocess().fingerprint()}"


def _preprocess() -> Preprocess:
    return Preprocess(None, architectures.INPUT_SIZE, mean=architectures.MEAN, std=architectures.STD)
