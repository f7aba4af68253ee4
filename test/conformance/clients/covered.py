"""Notes which public methods of a client are called, so that none is forgotten when it gets more."""
import inspect


class Covered:
    """An object whose calls are noted; what it calls of itself is not."""

    _called = {}

    def __init__(self, inner):
        self._inner = inner
        self._noted = Covered._called.setdefault(type(inner), set())

    def __getattr__(self, name):
        self._noted.add(name)
        return getattr(self._inner, name)

    @staticmethod
    def left():
        """Names what was not called, by class."""
        return {
            kind.__name__: [
                name
                for name, _ in inspect.getmembers(kind, inspect.isfunction)
                if not name.startswith("_") and name not in noted
            ]
            for kind, noted in Covered._called.items()
        }
