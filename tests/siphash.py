"""SipHash on Python integers, independent of the kernel."""

from __future__ import annotations

_WORD = (1 << 64) - 1


def siphash(key: tuple[int, int], text: bytes, *, compressions: int = 1, finalizations: int = 3) -> int:
    """SipHash-c-d of the paper (Aumasson and Bernstein, 2012, section 2)."""
    state = [
        key[0] ^ 0x736F6D6570736575,
        key[1] ^ 0x646F72616E646F6D,
        key[0] ^ 0x6C7967656E657261,
        key[1] ^ 0x7465646279746573,
    ]
    padded = text + bytes(7 - len(text) % 8) + bytes([len(text) % 256])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        state[3] ^= word
        _rounds(state, compressions)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, finalizations)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rounds(state: list[int], count: int) -> None:
    for _ in range(count):
        for first, second, bits, turned in ((0, 1, 13, 0), (2, 3, 16, None), (0, 3, 21, None), (2, 1, 17, 2)):
            state[first] = (state[first] + state[second]) & _WORD
            state[second] = _left(state[second], bits) ^ state[first]
            if turned is not None:
                state[turned] = _left(state[turned], 32)


def _left(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _WORD
