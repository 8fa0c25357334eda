"""Socket addresses in Linux's layout."""

from __future__ import annotations

import ipaddress
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybpf.hooks.socket_address import decode, encode, family_of
from anybpf.hooks.socket_call import Address

PORTS = st.integers(0, 0xFFFF)
WORDS = st.integers(0, 0xFFFFFFFF)
ADDRESSES = st.builds(Address, st.binary(min_size=4, max_size=4), PORTS) | st.builds(
    Address, st.binary(min_size=16, max_size=16), PORTS, WORDS, WORDS
)


@given(ADDRESSES)
def test_what_is_encoded_is_decoded(address: Address) -> None:
    """Encoding and decoding are inverses."""
    assert decode(encode(address)) == address


@given(st.binary(max_size=130), st.booleans())
def test_any_bytes_can_be_decoded(raw: bytes, unspecified: bool) -> None:
    """Whatever a caller passes is an address or none; an address names an Internet family, and its bytes are enough."""
    address = decode(raw, unspecified=unspecified)
    if address is not None:
        assert family_of(raw) in ((0, 2) if len(address.host) == 4 and unspecified else (2,)) or family_of(raw) == 10
        assert address.host in raw


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("0200 1f90 7f000001 0000000000000000", Address(ipaddress.ip_address("127.0.0.1").packed, 8080)),
        ("0200 1f90 7f000001", None),
        ("0a00 0016 00000007" + "00" * 15 + "01" + "03000000", Address(ipaddress.ip_address("::1").packed, 22, 7, 3)),
        ("0a00 0016 00000000" + "00" * 15 + "01", Address(ipaddress.ip_address("::1").packed, 22)),
        ("0100 2f746d70", None),
        ("", None),
    ],
)
@pytest.mark.skipif(sys.byteorder == "big", reason="the bytes are those of a little-endian machine")
def test_the_kernels_layout(raw: str, expected: Address | None) -> None:
    """Bytes as the kernel's interface has them; the scope may be missing, nothing else."""
    assert decode(bytes.fromhex(raw)) == expected
