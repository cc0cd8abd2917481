#!/usr/bin/env python3
"""Writes golden.txt beside itself: exact values of elementary functions, rounded once.

Needs mpmath (any version); 400 bits of working precision. Deterministic."""
import pathlib
import random
import struct

from mpmath import mp, mpf

mp.prec = 400
rnd = random.Random(20240607)


def bits64(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def bits32(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def round32(value):
    """A real number to the nearest binary32 (ties cannot happen here), as a bit pattern."""
    if value == 0:
        return 0
    sign, value = (0x80000000, -value) if value < 0 else (0, value)
    _, e = mp.frexp(value)
    grid = max(int(e) - 24, -149)
    whole = int(mp.nint(mp.ldexp(value, -grid)))
    number = mp.ldexp(whole, grid)
    return sign | (0x7F800000 if number >= mpf(2) ** 128 else bits32(float(number)))


def main():
    out = []

    def add64(name, args, values):
        out.append(" ".join([name] + [f"{bits64(v):016x}" for v in args]
                            + [f"{bits64(float(v)):016x}" for v in values]))

    def add32(name, x, value):
        out.append(f"{name} {bits32(x):08x} {round32(value):08x}")

    for x in ([0.5, 1.0, -1.0, 700.0, -700.0, 709.7, -708.3, -720.5, -745.0, 1e-9, -1e-300]
              + [rnd.uniform(-745, 709) for _ in range(90)] + [rnd.uniform(-2, 2) for _ in range(60)]):
        add64("exp", [x], [mp.exp(mpf(x))])
    for x in ([2.0, 10.0, 0.999999999999, 1 + 2.0**-52, 1 - 2.0**-53, 5e-324, 1e-310, 1.7e308]
              + [2.0 ** rnd.uniform(-1070, 1023) for _ in range(90)]
              + [rnd.uniform(0.5, 2) for _ in range(60)]):
        add64("log", [x], [mp.log(mpf(x))])
    for theta in (10000.0, 50000.0, 500000.0, 1000000.0, 10000000.0, 150000.0):
        for d in (64, 128):
            for i in range(0, d // 2, 4):
                y = -2.0 * i / d
                add64("pow", [theta, y], [mp.power(mpf(theta), mpf(y))])
    for _ in range(80):
        x, y = 2.0 ** rnd.uniform(-40, 40), rnd.uniform(-25, 25)
        add64("pow", [x, y], [mp.power(mpf(x), mpf(y))])
    for x, y in ((1.0000001, 6e9), (0.9999999999, -7e12), (3.0, -660.0), (2.0, 1023.5), (10.0, 300.0)):
        add64("pow", [x, y], [mp.power(mpf(x), mpf(y))])
    for x in ([0.0, 1e-300, 0.7853981633974483, 1.5707963267948966, 3.141592653589793, 163840.0, 2.0**30,
               -(2.0**30)]
              + [rnd.uniform(-10, 10) for _ in range(60)] + [rnd.uniform(0, 163840) for _ in range(60)]
              + [rnd.uniform(-(2.0**30), 2.0**30) for _ in range(60)]):
        add64("sincos", [x], [mp.sin(mpf(x)), mp.cos(mpf(x))])
    floats = ([0.0, 1.0, -1.0, 20.0, 88.5, -87.5, -100.0, -103.5, 1e-30, -1e-3, 3e38, -3e38, 1e-45]
              + [rnd.uniform(-105, 88) for _ in range(60)] + [rnd.uniform(-8, 8) for _ in range(90)])
    for x in map(f32, floats):
        big = mpf(x)
        if x < 89:
            add32("expf", x, mp.exp(big))
        if x > 0:
            add32("logf", x, mp.log(big))
        sigmoid = 1 / (1 + mp.exp(-big)) if x > -1000 else mpf(0)
        add32("sigmoidf", x, sigmoid)
        if x > -1000 and x != f32(1e-45):  # x/2 there is a tie but for 2^-150 of it
            add32("siluf", x, big * sigmoid)
        add32("softplusf", x, mp.log(1 + mp.exp(-abs(big))) + max(big, mpf(0)))
    path = pathlib.Path(__file__).with_name("golden.txt")
    path.write_text("\n".join(out) + "\n")


main()
