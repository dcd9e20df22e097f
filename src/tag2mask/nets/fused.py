"""Networks that only look: batch norms folded into convolutions, which add and rectify in the same pass."""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from timm.models import is_notrace_module
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from tag2mask.nets.backbones import Backbone

Net = TypeVar("Net", bound=nn.Module)
_How = tuple[list[int], list[int], list[int], int]
"""Padding, stride, dilation and groups of a convolution."""

_PASSED = (nn.Identity, nn.Dropout, nn.Dropout2d)
_SUMS = (operator.add, operator.iadd, torch.add)
_RECTIFIERS = (F.relu, torch.relu)

_BATCH, _SIDE = 2, 32
"""Weights are laid out for inputs of this size. A layout for each size is no faster and takes memory."""

_TRIED = 65, 97
"""Pixels of the image that a fused backbone is tried on, and how much of a map's maximum it may differ by."""
_TOLERANCE = 1e-3


class FusedConv(nn.Module):
    """A convolution with what follows it: a batch norm, the sum with another branch, a rectifier.

    On a CPU all of it is one pass of oneDNN over the output, with weights that are laid out once instead of in every
    call. Without gradients; it stays on the device where it is made.

    Args:
        conv: padded with zeros.
        norm: behind it, in evaluation mode.
        rectified: whether negative values become 0 at last.
        dtype: of weights and values.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, rectified: bool, dtype: torch.dtype) -> None:
        super().__init__()
        weight, bias = _folded(conv, norm)
        padding = cast("tuple[int, int]", conv.padding)
        self.how: _How = (list(padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.kernel, self.channels, self.dtype, self.rectified = conv.kernel_size, conv.out_channels, dtype, rectified
        self.weight, self.bias = weight.detach().to(dtype), None if bias is None else bias.detach().to(dtype)
        self.packed = weight.device.type == "cpu" and _has_fused_convolutions()
        if self.packed:
            seen = [_BATCH, conv.in_channels, _SIDE, _SIDE]
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *self.how, seen)

    def forward(self, values: Tensor, other: Tensor | None = None) -> Tensor:
        """(B, D, H, W), and what is added to the convolution of it -> (B, E, h, w)."""
        values = values.to(self.dtype)
        fits = other is None or (other.dtype == self.dtype and other.shape == self._shape(values))
        if self.packed and fits:
            return self._in_one_pass(values, other, self.rectified)
        if self.packed:
            out = self._in_one_pass(values, None, False)
        else:
            padding, stride, dilation, groups = self.how
            out = F.conv2d(values, self.weight, self.bias, stride, padding, dilation, groups)
        out = out if other is None else out + other
        return F.relu(out) if self.rectified else out

    def _in_one_pass(self, values: Tensor, other: Tensor | None, rectified: bool) -> Tensor:
        """oneDNN convolves, adds the other values and rectifies."""
        pointwise, act = torch.ops.mkldnn._convolution_pointwise, "relu" if rectified else None
        if other is None:
            out: Tensor = pointwise(values, self.weight, self.bias, *self.how, act or "none", [], "")
        else:
            out = pointwise.binary(values, other, self.weight, self.bias, *self.how, "add", 1.0, act, [], None)
        return out

    def _shape(self, values: Tensor) -> tuple[int, ...]:
        """Of the convolution's output."""
        padding, stride, dilation, _ = self.how
        height, width = (
            (side + 2 * pad - rate * (cells - 1) - 1) // step + 1
            for side, pad, rate, cells, step in zip(
                values.shape[-2:], padding, dilation, self.kernel, stride, strict=True
            )
        )
        return values.shape[0], self.channels, height, width


def fused(net: Net, dtype: torch.dtype) -> Net:
    """A copy of a network for looking at images: the same function up to rounding, faster, without gradients.

    Its parts are followed by symbolic tracing (torch.fx), the largest ones that can be: what can not be traced, such as
    a transformer, stays as it is, and so does a backbone that says something else of a first small image then. The copy
    does not learn, and does not follow what the network learns later.

    Args:
        net: any, on the device where it is asked.
        dtype: that autocast gives to convolutions; float32 without it.
    """
    made = _copy(net)
    _fuse_parts(made, dtype)
    return made


def _copy(net: Net) -> Net:
    """A copy of the modules in evaluation mode, with the network's own weights."""
    weights: dict[int, Any] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    made = copy.deepcopy(net, weights).eval()
    _split_norms(made)
    return made


def _split_norms(module: nn.Module) -> None:
    """timm's batch norms with an activation inside, as two modules."""
    for name, part in module.named_children():
        if type(part) is BatchNormAct2d and not _has_hooks(part):
            norm = nn.BatchNorm2d(part.num_features, part.eps, affine=part.affine)
            norm.load_state_dict(part.state_dict(), strict=False, assign=True)
            setattr(module, name, nn.Sequential(norm, part.drop, part.act).eval())
        else:
            _split_norms(part)


def _fuse_parts(module: nn.Module, dtype: torch.dtype) -> None:
    """Let the largest parts that can be traced do what they do by fused graphs; all else of them stays."""
    for part in module.children():
        if isinstance(part, Backbone) and not _can_be_fused(part):
            continue
        if isinstance(part, nn.Conv2d):
            if _is_plain(part):
                _let_do(part, FusedConv(part, None, False, dtype))
        elif any(isinstance(inner, nn.Conv2d) for inner in part.modules()):
            graph = _traced(part)
            if graph is None:
                _fuse_parts(part, dtype)
            else:
                _let_do(part, _fuse_graph(graph, dtype))


def _let_do(part: nn.Module, other: nn.Module) -> None:
    """Call another module in place of a part, which keeps what else it offers and who asks for it."""
    part.forward = other.forward


def _can_be_fused(backbone: Backbone) -> bool:
    """Whether a fused copy of a backbone says the same of a small image: tracing takes anybody's code at its word."""
    rows, columns = _TRIED
    weight = next(backbone.parameters())
    pixels = torch.linspace(-2, 2, 3 * rows * columns, device=weight.device).reshape(1, 3, rows, columns)
    made = _copy(backbone)
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        told = backbone(pixels)
        try:
            _fuse_parts(made, weight.dtype)
            seen = made(pixels)
        except Exception:  # Whatever a network's own code raises where tracing took the wrong way through it.
            return False
    return len(told) == len(seen) and all(
        one.shape == other.shape and bool((one - other).abs().max() <= _TOLERANCE * one.abs().max())
        for one, other in zip(told, seen, strict=True)
    )


def _traced(part: nn.Module) -> fx.GraphModule | None:
    """The part as a graph of modules and functions; None where what it does depends on the values, or is watched."""
    if any(_has_hooks(inner) for inner in part.modules() if inner is not part):
        return None  # They would not be called.
    tracer = _Tracer()
    try:
        graph = tracer.trace(part)
        return fx.GraphModule(tracer.root, graph)
    except Exception:  # Whatever a network's own code raises of stand-ins for tensors.
        return None


class _Tracer(fx.Tracer):
    """Goes into every module but torch's own, and those that timm says can not be followed."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or is_notrace_module(type(m))


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


@dataclass
class _Chain:
    """What can be done in one pass with a convolution, and the last node of it."""

    last: fx.Node
    norm: nn.BatchNorm2d | None = None
    other: fx.Node | None = None
    rectified: bool = False


def _fuse_graph(module: fx.GraphModule, dtype: torch.dtype) -> fx.GraphModule:
    """Make one module of every convolution and what follows it."""
    graph = module.graph
    for node in list(graph.nodes):
        if not (isinstance(part := _module_of(module, node), nn.Conv2d) and _is_plain(part)):
            continue
        chain = _follow(module, node)
        name = f"fused_{node.name}"
        module.add_submodule(name, FusedConv(part, chain.norm, chain.rectified, dtype))
        with graph.inserting_after(chain.last):
            inputs = (*node.args, *([] if chain.other is None else [chain.other]))
            new = graph.call_module(name, inputs)
        chain.last.replace_all_uses_with(new)
    graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def _follow(module: fx.GraphModule, conv: fx.Node) -> _Chain:
    """How far what follows a convolution can be done with it."""
    chain = _Chain(conv)
    while len(chain.last.users) == 1 and not chain.rectified:
        user = next(iter(chain.last.users))
        part = _module_of(module, user)
        if isinstance(part, _PASSED):
            pass
        elif type(part) is nn.BatchNorm2d and part.running_mean is not None and chain.norm is None is chain.other:
            chain.norm = part
        elif isinstance(part, nn.ReLU) or (user.op == "call_function" and user.target in _RECTIFIERS):
            chain.rectified = True
        elif chain.other is None and (other := _summand(user, chain.last)) is not None:
            chain.other = other
        else:
            break
        chain.last = user
    return chain


def _summand(node: fx.Node, known: fx.Node) -> fx.Node | None:
    """What a node adds to a known value; None if it does something else, adds a number, or changes the other value."""
    if node.op != "call_function" or node.target not in _SUMS or node.kwargs or len(node.args) != 2:
        return None
    first, second = node.args
    other = second if first is known else first
    changed = node.target is operator.iadd and first is not known
    return other if isinstance(other, fx.Node) and other is not known and not changed else None


def _module_of(module: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, if it is called with one value."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    return module.get_submodule(str(node.target))


def _is_plain(conv: nn.Conv2d) -> bool:
    """Padded with zeros by a number of cells."""
    return type(conv) is nn.Conv2d and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution and the batch norm behind it."""
    if norm is None:
        return conv.weight, conv.bias
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None  # for mypy: asked for in _follow
    assert var is not None
    return fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, norm.weight, norm.bias)


def _has_fused_convolutions() -> bool:
    """Whether this torch was built with oneDNN: with the operators of which its own compiler makes convolutions."""
    return hasattr(torch.ops.mkldnn, "_convolution_pointwise")
