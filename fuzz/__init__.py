"""Fuzzing: bytes that nobody would think of, against what reads bytes from outside.

    targets/NAME.py     check(data): what must hold whatever the bytes are; one file a target
    corpus/NAME/        inputs worth keeping; every run of the tests replays them
    __main__            `make fuzz`: time split among the targets
    run, child          one target in a process of its own: libFuzzer, guided by the coverage of
                        tunmesh (atheris)
    corpus              the files; what was found, made small
    seeds               the first inputs: real messages, frames, handshakes, files
    choices             bytes as a row of decisions

A check asserts more than that nothing crashes: that what was read is written as the same again,
that the quick parser agrees with a slow one, that bounds hold, that a refusal is of the kind it
must be. It is a function of its bytes alone, and needs nothing but what the tests need.
"""
