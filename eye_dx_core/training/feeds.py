"""What the loop learns from: photographs that vary from step to step, or what a frozen part of the trunk made of them once."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from eye_dx_core.dataset.augment import Augmentation, augment_batch
from eye_dx_core.dataset.cache import Squares
from eye_dx_core.model.preprocess import Preprocess, to_unit
from eye_dx_core.model.vit import FundusVit, TrunkConfig
from eye_dx_core.progress import LoggedProgress
from eye_dx_core.training.precision import Precision, autocast
from eye_dx_core.training.team import ALONE, Team

_READING_BATCH = 32
_ALL = slice(None)


class Feed(Protocol):
    """Labelled photographs, and the way from them to logits."""

    @property
    def condition_indices(self) -> NDArray[np.int64]:
        """Position of each photograph's label in the label set."""
        ...

    def __len__(self) -> int:
        """How many photographs there are."""
        ...

    def vary(self, model: FundusVit, chosen: NDArray[np.int64], generator: torch.Generator, *, part: slice = _ALL) -> torch.Tensor:
        """Logits (photo, class) of a part of the chosen photographs, varied as in training.

        The only source of chance is the generator, and it gives for all that are chosen, whatever the part.
        """
        ...

    def pool(self, model: FundusVit, chosen: NDArray[np.int64]) -> torch.Tensor:
        """Pooled patch tokens (photo, dim) of the chosen photographs as they are, see `FundusVit.pool_patches`."""
        ...


@dataclass(frozen=True)
class LabelledPhotos:
    """Squares (photo, size, size, rgb) with the position of each photograph's label in the label set."""

    squares: Squares
    condition_indices: NDArray[np.int64]

    def __len__(self) -> int:
        """How many photographs there are."""
        return len(self.condition_indices)


@dataclass(frozen=True)
class PhotoFeed:
    """Every step sees the photographs changed anew and takes them through the whole model."""

    photos: LabelledPhotos
    preprocess: Preprocess
    augmentation: Augmentation

    @property
    def condition_indices(self) -> NDArray[np.int64]:
        """See the protocol."""
        return self.photos.condition_indices

    def __len__(self) -> int:
        """See the protocol."""
        return len(self.photos)

    def vary(self, model: FundusVit, chosen: NDArray[np.int64], generator: torch.Generator, *, part: slice = _ALL) -> torch.Tensor:
        """See the protocol."""
        device = next(model.parameters()).device
        photos = augment_batch(to_unit(self.photos.squares[chosen]).to(device), self.augmentation, generator)
        return model(self.preprocess.normalise(photos[part]))

    def pool(self, model: FundusVit, chosen: NDArray[np.int64]) -> torch.Tensor:
        """See the protocol."""
        device = next(model.parameters()).device
        return model.pool_patches(model.features(self.preprocess.to_batch(self.photos.squares[chosen]).to(device)))


@dataclass(frozen=True)
class TokenFeed:
    """What enters the block at `depth`, kept for a few fixed views of each photograph: (view, photo, token, dim).

    The blocks before it are frozen, so they would say the same at every epoch. View 0 is the photograph as it is. At
    `depth` beyond the last block only the pooled tokens are kept: (view, photo, dim).
    """

    tokens: torch.Tensor
    condition_indices: NDArray[np.int64]
    depth: int

    def __len__(self) -> int:
        """See the protocol."""
        return len(self.condition_indices)

    def vary(self, model: FundusVit, chosen: NDArray[np.int64], generator: torch.Generator, *, part: slice = _ALL) -> torch.Tensor:
        """See the protocol."""
        views = torch.randint(len(self.tokens), (len(chosen),), generator=generator)
        return model.logits_from_pooled(self._pool(model, self.tokens[views[part], torch.from_numpy(chosen[part])]))

    def pool(self, model: FundusVit, chosen: NDArray[np.int64]) -> torch.Tensor:
        """See the protocol."""
        return self._pool(model, self.tokens[0, torch.from_numpy(chosen)])

    def _pool(self, model: FundusVit, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens.to(model.head.weight.device, torch.float32)
        return tokens if tokens.ndim == 2 else model.pool_patches_from(tokens, depth=self.depth)


@dataclass(frozen=True)
class TokenStore:
    """A folder of what the frozen part of a trunk made of photographs."""

    folder: Path
    trunk: TrunkConfig
    trunk_sha256: str
    """Of the frozen weights."""
    seed: int
    """Equal seeds give equal views."""
    precision: Precision = "auto"
    dtype: torch.dtype = torch.bfloat16
    """Half the bytes of single precision lose nothing that training would notice."""

    def keep(self, build: Callable[[], FundusVit], feed: PhotoFeed, *, depth: int, views: int) -> TokenFeed:
        """Take every photograph through the frozen part of the trunk once per view; what is kept already is taken from there.

        Args:
            build: gives the model whose blocks before `depth` do not learn; not called when the tokens are kept already.
            feed: the photographs, and how the views of one differ.
            depth: first block that learns; the trunk's depth itself keeps pooled tokens, for a head alone.
            views: how many variants of each photograph are kept; the first is the photograph as it is.
        """
        tokens_each = (feed.preprocess.size // self.trunk.patch) ** 2 + 1  # the class token
        pooled = depth == self.trunk.depth
        shape = (views, len(feed), *(() if pooled else (tokens_each,)), self.trunk.dim)
        file = self.folder / f"{self._name(feed, depth, views)}.tokens"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}.draft")
            model, kept = build(), _map(draft, shape, self.dtype)
            progress = LoggedProgress("passes through frozen blocks", views * len(feed))
            for view in range(views):
                for start, batch in self._batches(model, feed, view):
                    with torch.no_grad(), autocast(model, self.precision):
                        tokens = model.tokens_before(batch, depth=depth)
                        tokens = model.pool_patches(tokens) if pooled else tokens
                    kept[view, start : start + len(batch)] = tokens.to("cpu", self.dtype)
                    progress.advance(len(batch))
            del kept
            draft.replace(file)
        return TokenFeed(_map(file, shape, self.dtype), feed.condition_indices, depth)

    def _batches(self, model: FundusVit, feed: PhotoFeed, view: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Position of each batch and the batch itself, as the view shows it."""
        device, generator = next(model.parameters()).device, torch.Generator().manual_seed(self.seed * 1000 + view)
        for start in range(0, len(feed), _READING_BATCH):
            seen = to_unit(feed.photos.squares[start : start + _READING_BATCH]).to(device)
            yield start, feed.preprocess.normalise(augment_batch(seen, feed.augmentation, generator) if view else seen)

    def _name(self, feed: PhotoFeed, depth: int, views: int) -> str:
        """Hash of everything that the tokens depend on."""
        facts = (self.trunk_sha256, self.seed, self.precision, self.dtype, depth, views, feed.preprocess, feed.augmentation)
        digest = hashlib.sha256(repr(facts).encode())
        for start in range(0, len(feed), _READING_BATCH):
            digest.update(feed.photos.squares[start : start + _READING_BATCH].tobytes())
        return digest.hexdigest()[:24]


def _map(file: Path, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """A tensor on disk: what is not looked at needs no memory."""
    return torch.from_file(str(file), shared=True, size=math.prod(shape), dtype=dtype).view(shape)


def predict_logits(model: FundusVit, squares: Squares, preprocess: Preprocess) -> torch.Tensor:
    """Logits (photo, class) of squares (photo, size, size, rgb), on the CPU."""
    return read_all(model, _unlabelled(squares, preprocess))


def pool_squares(model: FundusVit, squares: Squares, preprocess: Preprocess) -> torch.Tensor:
    """Pooled patch tokens (photo, dim) of squares (photo, size, size, rgb), on the CPU in single precision."""
    return pool_all(model, _unlabelled(squares, preprocess), np.arange(len(squares)))


def _unlabelled(squares: Squares, preprocess: Preprocess) -> PhotoFeed:
    return PhotoFeed(LabelledPhotos(squares, np.zeros(len(squares), dtype=np.int64)), preprocess, Augmentation())


def read_all(model: FundusVit, feed: Feed, *, precision: Precision = "auto", team: Team = ALONE) -> torch.Tensor:
    """Logits (photo, class) of all photographs of a feed, batch by batch, on the CPU; each member of a team reads its part."""
    logits = torch.zeros(len(feed), model.head.out_features, device=model.head.weight.device)
    own = np.arange(len(feed))[team.part_of(len(feed))]
    with torch.inference_mode(), autocast(model, precision):
        for start in range(0, len(own), _READING_BATCH):
            chosen = own[start : start + _READING_BATCH]
            logits[chosen] = model.logits_from_pooled(feed.pool(model, chosen)).float()
    return team.sum(logits).cpu()


def pool_all(model: FundusVit, feed: Feed, chosen: NDArray[np.int64], *, precision: Precision = "auto") -> torch.Tensor:
    """Pooled patch tokens (photo, dim) of the chosen photographs of a feed, on the CPU in single precision."""
    with torch.inference_mode(), autocast(model, precision):
        parts = [feed.pool(model, chosen[start : start + _READING_BATCH]) for start in range(0, len(chosen), _READING_BATCH)]
    return torch.cat(parts).float().cpu()
