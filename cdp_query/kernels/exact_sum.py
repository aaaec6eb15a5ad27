"""Correctly rounded sums of float64, whatever the order, range and cancellation of the terms.

A fixed-point accumulator wide enough for every float64 (Kulisch and Miranker, 1986): 70 limbs of 32 bits, the lowest
bit worth 2**-1074, each limb kept in an int64 so that carries can wait.
"""

from __future__ import annotations

import math

import numpy as np

from cdp_store.arrays import F64, I64
from cdp_store.kernels.jit import kernel

LIMBS = 70
_LIMB_MASK = 0xFFFFFFFF
_FRACTION_MASK = (1 << 52) - 1
_LOWEST_EXPONENT = -1074
_TERMS_BETWEEN_CARRIES = 1 << 28  # a term adds less than 2**33 to a limb


@kernel
def exact_sums(starts: I64, bits: I64, out: F64) -> None:
    """out[g] = the true sum of the float64 with bits[starts[g]:starts[g + 1]], rounded once."""
    limbs = np.zeros(LIMBS, np.int64)
    for group in range(out.shape[0]):
        limbs[:] = 0
        for i in range(starts[group], starts[group + 1]):
            add_to_limbs(limbs, bits[i])
            if (i - starts[group]) % _TERMS_BETWEEN_CARRIES == _TERMS_BETWEEN_CARRIES - 1:
                _carry(limbs)
        out[group] = _rounded(limbs)


@kernel
def add_to_limbs(limbs: I64, bits: int) -> None:
    """Add the float64 of these bits to a fixed-point number; after 2**28 of them a limb may overflow."""
    exponent = (bits >> 52) & 0x7FF
    fraction = bits & _FRACTION_MASK
    shift = 0
    if exponent > 0:
        fraction |= 1 << 52
        # Subnormal numbers have exponent 0, no hidden bit, and the scale of exponent 1.
        shift = exponent - 1
    limb, offset = shift >> 5, shift & 31
    low = (fraction & _LIMB_MASK) << offset
    high = (fraction >> 32) << offset
    # Bits in an int64: the sign of the number is the sign of the float.
    sign = -1 if bits < 0 else 1
    limbs[limb] += sign * (low & _LIMB_MASK)
    limbs[limb + 1] += sign * ((low >> 32) + (high & _LIMB_MASK))
    limbs[limb + 2] += sign * (high >> 32)


@kernel
def _carry(limbs: I64) -> None:
    """Bring all limbs but the last into [0, 2**32); the last keeps the sign of the whole."""
    for i in range(LIMBS - 1):
        # The shift rounds down, so that what stays in a negative limb is not negative.
        limbs[i + 1] += limbs[i] >> 32
        limbs[i] &= _LIMB_MASK


@kernel
def _bit(limbs: I64, position: int) -> int:
    return int((limbs[position >> 5] >> (position & 31)) & 1)


@kernel
def _rounded(limbs: I64) -> float:
    _carry(limbs)
    sign = 1.0
    if limbs[LIMBS - 1] < 0:
        sign = -1.0
        for i in range(LIMBS):
            # Rounded as a magnitude: half to even is the same for both signs, and the top limb then tells where it
            # begins.
            limbs[i] = -limbs[i]
        _carry(limbs)
    top = LIMBS - 1
    while top >= 0 and limbs[top] == 0:
        top -= 1
    if top < 0:
        return 0.0
    # The carries have left 32 bits in each limb.
    highest = 31
    while (limbs[top] >> highest) & 1 == 0:
        highest -= 1
    highest += 32 * top
    lowest = max(highest - 52, 0)
    mantissa = 0
    for position in range(highest, lowest - 1, -1):
        mantissa = (mantissa << 1) | _bit(limbs, position)
    if lowest > 0 and _bit(limbs, lowest - 1):
        rest = mantissa & 1  # half to even, unless anything follows the half
        position = lowest - 2
        while rest == 0 and position >= 0:
            rest = _bit(limbs, position)
            position -= 1
        mantissa += rest
    return sign * math.ldexp(float(mantissa), lowest + _LOWEST_EXPONENT)
