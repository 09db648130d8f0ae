"""Which addresses of a peer answer, how fast, with how large datagrams, and whether still."""
