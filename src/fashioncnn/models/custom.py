"""Networks of the user's own code: what is known about them, and how they are created.

Their code is never found through a file of a run or a model: the caller gives it.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import inspect
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.reading import CONFIG_BYTES, read_bytes
from fashioncnn.settings import CustomConfig, NetworkKind

MAX_NAME = 200
"""Limit on the length of a recorded name."""
_QUALIFIED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


NO_FILE = ", which was defined in a notebook or script"


def is_interactive(config: CustomConfig) -> bool:
    """Return whether the code of a network was in a notebook or script: no module to import."""
    return config.network.startswith("__main__:")


@dataclass(frozen=True)
class CustomNetwork:
    """The code of a network.

    Attributes:
        source: a module, which is copied with its weights; or a class or function that returns one.
        config: what settings and models record about it.
    """

    source: Any
    config: CustomConfig

    @property
    def name(self) -> str:
        """Where its code is, as ``package.module:Class``."""
        return self.config.network

    def build(self, image_size: int, classes: int, in_channels: int = 1) -> nn.Module:
        """Return a new network, float32 on the CPU.

        A class or function is called with those of the keyword arguments ``image_size``,
        ``classes`` (or ``num_classes``) and ``in_channels`` that its signature names. The weights
        are drawn from torch's global generator; a module keeps its own.

        Args:
            image_size: side of the input images, in pixels.
            classes: number of logits.
            in_channels: of the input images, 1 or 3.

        Raises:
            UsageError: its code fails, or returns something else.
        """
        values = {
            "image_size": image_size,
            "classes": classes,
            "num_classes": classes,
            "in_channels": in_channels,
        }
        with report_failure(self.name, "cannot be created"):
            if isinstance(self.source, nn.Module):
                network = copy.deepcopy(self.source)
            else:
                network = self.source(**_accepted(self.source, values))
        if not isinstance(network, nn.Module):
            raise UsageError(
                f"network {self.name}: returned an object of type {type(network).__name__}; should "
                "be a torch.nn.Module"
            )
        network = network.to("cpu").float()
        network.register_forward_pre_hook(_make_contiguous)
        if any(map(is_lazy, [*network.parameters(), *network.buffers()])):
            with report_failure(self.name, "fails on an image"), torch.no_grad():
                network.eval()(torch.zeros(1, in_channels, image_size, image_size))
        return network.train()


def as_custom_network(source: Any) -> CustomNetwork:
    """Return the network of a module, a class, a function, or the name of one of them.

    Args:
        source: a `torch.nn.Module`; a class or function that returns one; or
            ``package.module:Class``, which is imported.

    Raises:
        UsageError: it is none of them, or cannot be imported.
    """
    if isinstance(source, CustomNetwork):
        return source
    if isinstance(source, str):
        return import_network(source)
    if not (isinstance(source, nn.Module) or callable(source)):
        raise UsageError(
            f"network of type {type(source).__name__}: should be a torch.nn.Module, a class or "
            "function that returns one, or the name of one as in package.module:Class"
        )
    return _describe(source, _name_of(source))


def import_network(name: str) -> CustomNetwork:
    """Import a network.

    Args:
        name: ``package.module:Class``, or a function or module instead of the class.

    Raises:
        UsageError: there is no such module or attribute, or its code fails.
    """
    if not _QUALIFIED.fullmatch(name):
        raise UsageError(f"network {name}: should be package.module:Class, as in mynetworks:Net")
    module_name, _, attribute = name.partition(":")
    with report_failure(name, f"{module_name} cannot be imported"):
        module = importlib.import_module(module_name)
    try:
        source = operator.attrgetter(attribute)(module)
    except AttributeError:
        raise UsageError(f"network {name}: {module_name} has no {attribute}") from None
    if not (isinstance(source, nn.Module) or callable(source)):
        raise UsageError(
            f"network {name}: is of type {type(source).__name__}; should be a torch.nn.Module, or "
            "a class or function that returns one"
        )
    return _describe(source, name)


@contextlib.contextmanager
def report_failure(name: str, what: str) -> Iterator[None]:
    """Report an exception of the user's code in one line; the original is its cause.

    Raises:
        UsageError: for every exception.
    """
    try:
        yield
    except FashionCNNError as error:
        raise UsageError(f"network {name}: {what} ({error})") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"network {name}: {what} ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """Return type and first line of an exception's message."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _make_contiguous(_network: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the inputs in the usual layout; color images are in channels_last (`view` fails)."""
    return tuple(one.contiguous() if isinstance(one, torch.Tensor) else one for one in inputs)


def _accepted(source: Any, values: dict[str, int]) -> dict[str, int]:
    """Return those of `values` that the signature of `source` names."""
    try:
        parameters = inspect.signature(source).parameters.values()
    except (TypeError, ValueError):  # a function of C code
        return {}
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    # Values that functools.partial has fixed are the user's choice.
    fixed = source.keywords if isinstance(source, functools.partial) else {}
    names = {p.name for p in parameters if p.kind in keywords} - fixed.keys()
    return {name: value for name, value in values.items() if name in names}


def _describe(source: Any, name: str) -> CustomNetwork:
    kind: NetworkKind = "function"
    if isinstance(source, nn.Module):
        kind = "instance"
    elif inspect.isclass(source):
        kind = "class"
    config = CustomConfig(name="custom", network=name, kind=kind, source_sha256=_sha256(source))
    return CustomNetwork(source, config)


def _name_of(source: Any) -> str:
    """Return ``module:qualified.name`` of the class or function; arguments of a partial follow."""
    arguments = ""
    if isinstance(source, functools.partial):
        values = [*map(repr, source.args), *(f"{k}={v!r}" for k, v in source.keywords.items())]
        arguments = re.sub(r"[^ -~]", "?", f"({', '.join(values)})")
        source = source.func
    named = source if hasattr(source, "__qualname__") else type(source)
    qualified = f"{named.__module__}:{named.__qualname__}"
    return re.sub(r"[^\w.<>:]", "_", qualified)[:MAX_NAME] + arguments[:MAX_NAME]


def _sha256(source: Any) -> str:
    """Return the SHA-256 of the file with the code of `source`; empty if there is none."""
    code = source.func if isinstance(source, functools.partial) else source
    named = code if hasattr(code, "__qualname__") else type(code)
    # The file of a method: that of a class is guessed from its module, wrongly for __main__.
    methods = filter(inspect.isfunction, vars(named).values())
    try:
        path = inspect.getsourcefile(next(methods, named))
        content = read_bytes(Path(path or ""), CONFIG_BYTES)
    except (TypeError, OSError):  # C code, or code that was typed in
        return ""
    return hashlib.sha256(content).hexdigest()
