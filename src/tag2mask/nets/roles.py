"""What a network says about its parameters, so that the training loop knows no net's parts by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


@dataclass(frozen=True, slots=True)
class Role:
    """How a parameter learns.

    Args:
        new: it does not come from a backbone that may have learned before.
        bias: of a bias or a normalisation: no weight decay.
    """

    new: bool
    bias: bool


@runtime_checkable
class HasRoles(Protocol):
    """A network that knows the roles of its parameters."""

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """Every parameter once, in the order of ``parameters()``, and its role."""
        ...


def roles_of(net: nn.Module) -> Iterator[tuple[nn.Parameter, Role]]:
    """The parameters of a network and their roles; of a network of others, all learn alike.

    Args:
        net: any.
    """
    if isinstance(net, HasRoles):
        yield from net.parameter_roles()
    else:
        yield from roles_beside(net, None)


def roles_beside(net: nn.Module, backbone: nn.Module | None) -> Iterator[tuple[nn.Parameter, Role]]:
    """Everything beside a backbone is new; what has one dimension is a bias or a normalisation.

    Args:
        net: all of it.
        backbone: a part of it; None: there is none, and nothing is new.
    """
    old = set() if backbone is None else {id(parameter) for parameter in backbone.parameters()}
    for parameter in net.parameters():
        yield parameter, Role(backbone is not None and id(parameter) not in old, parameter.ndim <= 1)
