"""What a pickle is read into: inert descriptions of the names, objects and tensors that it speaks of."""

from dataclasses import dataclass
from typing import Any


class RefusedPickleError(ValueError):
    """The pickle asks for something that no checkpoint needs, or is damaged. The message says what."""


@dataclass(frozen=True)
class Symbol:
    """A name that the pickle refers to, such as `torch.nn.modules.conv.Conv2d`. It stands for nothing but itself."""

    name: str

    @property
    def last(self) -> str:
        """The class name without its module, such as `Conv2d`."""
        return self.name.rpartition('.')[2]


@dataclass(eq=False)
class Record:
    """An object of the pickle that was written down instead of made."""

    symbol: Symbol
    args: tuple = ()
    state: Any = None

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute `name` that the object would have had, or `default`."""
        return self.state.get(name, default) if isinstance(self.state, dict) else default


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file: its key there, the torch name of their type, and how many they are."""

    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class TensorRecord:
    """Where the values of a tensor lie: counted in elements of its storage, inside which they are known to be."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


# Bytes per element, by the torch name of the type.
ITEM_BYTES = {
    'float64': 8, 'float32': 4, 'float16': 2, 'bfloat16': 2,
    'int64': 8, 'int32': 4, 'int16': 2, 'int8': 1, 'uint8': 1, 'bool': 1,
}  # fmt: skip


def refuse_unless(condition: bool, what: str) -> None:
    """Raises RefusedPickleError with the message `what` unless the condition holds."""
    if not condition:
        raise RefusedPickleError(what)


def damaged(what: str) -> str:
    """The message for a pickle that no program wrote like this."""
    return f'its pickle is damaged ({shown(what)})'


def shown(text: str, limit: int = 120) -> str:
    """A text from a stranger's file as it may be shown on a terminal: escaped, and cut to `limit` characters."""
    return text[:limit].encode('unicode_escape').decode('ascii')[:limit]
