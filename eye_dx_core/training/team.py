"""The processes that train one model together, each on a part of every batch; alone, a team of one.

Started by `torchrun` (one process per GPU, or several on CPUs). A batch is the same whatever the size of the team: every member
draws all of it, learns from its part, and the gradients are added up, so the weights are those that one process would have got.
"""

import atexit
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True)
class Team:
    """How many there are and which one this process is; the first alone writes files and reports."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def part_of(self, count: int) -> slice:
        """This member's run of positions among so many; the parts are about equal, and empty where there are too few."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all members, in place."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up every member's gradients, so that all take the same step."""
        if self.size == 1:
            return
        pending = [distributed.all_reduce(one.grad, async_op=True) for one in parameters if one.grad is not None]
        for work in pending:
            work.wait()

    @contextmanager
    def first_goes_ahead(self) -> Generator[None]:
        """The first member does the work and leaves it on disk, where the others then find it done."""
        if self.size > 1 and not self.is_first:
            distributed.barrier()
        yield
        if self.size > 1 and self.is_first:
            distributed.barrier()


ALONE = Team()


def join_team() -> Team:
    """The team that `torchrun` started this process in, or this process alone. On GPUs, each member takes one."""
    if not distributed.is_torchelastic_launched():
        return ALONE
    if not distributed.is_initialized():
        has_gpu = torch.cuda.is_available()
        if has_gpu:
            torch.cuda.set_device(distributed.get_node_local_rank())  # pyright: ignore[reportPrivateImportUsage]
        distributed.init_process_group("nccl" if has_gpu else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), distributed.get_world_size())
