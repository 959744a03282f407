"""One training on several processes, each with its part of every batch (`torchrun -m benchmark.launch.worker ...`).

Batch and learning rate are those of the suite, whatever the number of processes. Every process has all images, network,
optimiser and method; it computes those images of a batch that it owns, row modulo the number of processes. The
gradients are added up after the backward pass, weighted by the images, so that all processes make the update that one
process would make, up to rounding. So whatever a method derives from its network is the same on all of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.runtime.hashing import tensors_sha256
from benchmark.runtime.part import BatchPart
from benchmark.runtime.stopping import Stopped, leave_if_requested, requested
from benchmark.training.batch_norm import running_statistics, shared_batch_norm
from benchmark.training.state import TrainingFailed

BACKENDS = {"cpu": "cpu:gloo", "cuda": "cpu:gloo,cuda:nccl"}


@dataclass(frozen=True)
class Share:
    """What one process computes of a batch."""

    rows: Tensor  # (b,) places in the training set
    places: Tensor  # (b,) places in the batch
    batch: int  # images of the whole batch

    @property
    def weight(self) -> float:
        """The share of the batch's images, in [0, 1]."""
        return len(self.rows) / self.batch


@dataclass(frozen=True)
class Processes:
    """The processes of one training, and which of them this is. Every method but `main` is called by all of them."""

    rank: int = 0
    size: int = 1
    batch_norm: Literal["synchronised", "local"] = "synchronised"

    @property
    def main(self) -> bool:
        """Whether this process reports, writes files, and evaluates."""
        return self.rank == 0

    def shares(self, batches: Sequence[Tensor], device: torch.device) -> list[Share]:
        """Return what this process computes of each batch (B,) of rows; all of it if it is alone."""
        if self.size == 1:
            return [Share(rows, rows, len(rows)) for rows in batches]
        # On the CPU, as the number of own rows is needed there, and reading it back would wait for the GPU.
        places = [(rows.cpu() % self.size == self.rank).nonzero().flatten() for rows in batches]
        return [
            Share(rows.cpu()[own].to(device), own.to(device), len(rows))
            for rows, own in zip(batches, places, strict=True)
        ]

    @contextmanager
    def computing(self, share: Share, model: nn.Module, part: BatchPart) -> Iterator[None]:
        """Inside, passes are made on this process's share of a batch."""
        if self.size == 1:
            yield
            return
        gather = _gather if self.batch_norm == "synchronised" else None
        with part.only(share.batch, share.places), shared_batch_norm(model, gather):
            yield

    def backward(self, loss: Tensor, share: Share, model: nn.Module) -> Tensor:
        """Set the gradients of the whole batch, and return its loss; local running statistics become their mean.

        Args:
            loss: of this process's share, a mean over its images plus terms without images.
            share: of the batch.
            model: the network.
        """
        if self.size == 1:
            loss.backward()
            return loss.detach()
        # Weighted before the backward pass, where synchronised batch norm adds up gradients of all processes.
        (loss * share.weight).backward()
        # The mean over no image is NaN; it has no gradient.
        own = loss.detach() * share.weight if share.weight else torch.zeros_like(loss)
        # Parameters that an earlier phase trained still have its last gradients.
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        sums = [own, *(parameter.grad for parameter in trained if parameter.grad is not None)]
        if self.batch_norm == "local":
            statistics = running_statistics(model)
            for running in statistics:
                running.mul_(share.weight)
            sums += statistics
        _add_up(sums)
        return own

    def leave_if_requested(self) -> None:
        """Leave if any of the processes was requested to stop.

        Raises:
            Stopped: on all of them.
        """
        if self.size == 1:
            leave_if_requested()
            return
        wanted = torch.tensor([requested() is not None], dtype=torch.int32)  # in main memory: waits for no GPU
        dist.all_reduce(wanted)
        if wanted.item():
            raise Stopped(requested() or "another process of this training was requested to stop")

    @contextmanager
    def leaving_together(self) -> Iterator[None]:
        """If one process leaves the block by `Stopped`, all do at its end."""
        stopped = None
        try:
            yield
        except Stopped as request:
            stopped = request
        if self.size > 1:
            self.leave_if_requested()  # a request is not withdrawn
        elif stopped is not None:
            raise stopped

    def among(self, images: int) -> Tensor | None:
        """Return (images,) bool, those that this process validates; None if it is alone."""
        return None if self.size == 1 else torch.arange(images) % self.size == self.rank

    def total(self, count: int) -> int:
        """Return the sum of the processes' counts."""
        if self.size == 1:
            return count
        counts = torch.tensor([count])
        dist.all_reduce(counts)
        return int(counts)

    def owned(self, tensor: Tensor) -> Tensor:
        """Return the part of a tensor (N, ...) over the training images that belongs to this process's images."""
        return tensor if self.size == 1 else tensor[self.rank :: self.size].clone()

    def places(self, rows: Tensor) -> Tensor:
        """Return where own rows (b,) of the training set lie in what `owned` returns."""
        return rows if self.size == 1 else rows // self.size

    def whole(self, owned: Tensor, count: int) -> Tensor:
        """Return the tensor over all `count` training images from what the processes own of it."""
        if self.size == 1:
            return owned
        padded = owned.new_zeros((-(-count // self.size), *owned.shape[1:]))
        padded[: len(owned)] = owned
        return _gather(padded).transpose(0, 1).flatten(0, 1)[:count]

    def check_same(self, model: nn.Module) -> None:
        """Check that all processes have the same network, bit for bit.

        Raises:
            TrainingFailed: on all of them, if they have not.
        """
        if self.size == 1:
            return
        if not self.agree_on(tensors_sha256({**dict(model.named_parameters()), **dict(model.named_buffers())})):
            raise TrainingFailed(
                "the processes of this training have different networks; a method that draws random numbers for images "
                "or keeps state of its own about them must be trained by one process"
            )

    def agree_on(self, text: str) -> bool:
        """Return whether all processes give the same text."""
        if self.size == 1:
            return True
        digest = torch.frombuffer(bytearray(hashlib.sha256(text.encode()).digest()), dtype=torch.uint8)
        return bool((_gather(digest) == digest).all())

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.total(0)


ALONE = Processes()

JOIN_SECONDS = 120  # for the processes of a training to connect


@contextmanager
def joined(device: torch.device, batch_norm: Literal["synchronised", "local"]) -> Iterator[Processes]:
    """Join the processes that torchrun started for this training; there is only this one if it was not torchrun.

    On GPUs, each process makes the one of its local rank its current device.

    Raises:
        UserError: if the machine has fewer GPUs than processes.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
                "start as many processes per machine as it has GPUs (--nproc-per-node)"
            )
        torch.cuda.set_device(local)
    # Gloo sometimes waits for ever when it connects the processes of a group that was restarted; torchrun starts the
    # group again if one ends. The time-out of torch is no help: it would hold for every later exchange, too.
    watch = threading.Timer(JOIN_SECONDS, _give_up_joining)
    watch.daemon = True
    watch.start()
    dist.init_process_group(BACKENDS[device.type], rank=rank, world_size=size)
    watch.cancel()
    try:
        yield Processes(rank, size, batch_norm)
    except Stopped:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()  # not after a failure: it might wait for processes that are lost


def _give_up_joining() -> None:
    print(f"the processes of this training did not connect within {JOIN_SECONDS} s", file=sys.stderr, flush=True)
    os._exit(1)


def _gather(own: Tensor) -> Tensor:
    """Return (processes, ...) the tensors of all processes, which have one shape."""
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own.contiguous())
    return torch.stack(everyone)


@torch.no_grad()
def _add_up(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(total.view(tensor.shape))
