"""Fuzzing of everything that parses bytes from outside.

    targets/NAME.py     check(data): what must hold for any bytes; one file per target
    corpus/NAME/        inputs worth keeping; every run of the tests replays them
    __main__            `make fuzz`: the time is split among the targets
    run, child          one target in a process of its own: libFuzzer, guided by the coverage of
                        tunmesh (atheris)
    corpus              the files; minimizes what was found
    seeds               the initial inputs: real messages, frames, handshakes, files
    choices             bytes as a sequence of decisions

A check asserts more than the absence of crashes: that parsing and encoding round-trip, that the
fast parser agrees with a simple one, that bounds hold, that errors are of the right kind. It is a
pure function of its bytes, and has no dependencies beyond those of the tests.
"""
