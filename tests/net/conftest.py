"""The fixtures of the network's tests."""

from __future__ import annotations

from tests.certificates import certificates

__all__ = ['certificates']
