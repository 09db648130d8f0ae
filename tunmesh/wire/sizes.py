"""Protocol version, field sizes and limits."""

PROTOCOL = "tunmesh/1"
VERSION = 1

NONCE_SIZE = 32
KEY_ID_SIZE = 8
MAC_SIZE = 32
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
SEAL_SIZE = 16  # the tag of AES-GCM
TOKEN_SIZE = 8
INDEX_SIZE = 4  # of a session over UDP
GENERATION_SIZE = 8  # no node ever sends 2⁶⁴ full syncs
NODE_ID_SIZE = 16
MAX_OFFERS = 16  # protocol versions, and key ids, in one hello

MAX_HANDSHAKE_FRAME = 6144
MAX_DATA_FRAME = 65_546  # D ‖ virtio_net_hdr ‖ the largest IP packet
MAX_FRAME = 1 << 20
SIGNED_SIZE = PUBLIC_KEY_SIZE + SIGNATURE_SIZE  # of a signed record, excluding the record
# Of a proof, excluding the record. The 1 is the byte `settled`.
PROOF_SIZE = 1 + MAC_SIZE + SEAL_SIZE + SIGNATURE_SIZE + 1 + SIGNED_SIZE
MAX_RECORD = MAX_HANDSHAKE_FRAME - PROOF_SIZE
MAX_SIGNED = SIGNED_SIZE + MAX_RECORD
MAX_INTRODUCED = 128  # records in one introduction, so that it always fits into a frame
# The config is checked with these and `split_url`, so that peers accept whatever it accepts.
MAX_NAME = 64  # HOST_NAME_MAX: the default node name is that of the host
MAX_HOST = 254  # of a DNS name, with its final dot (RFC 1035, section 2.3.4)
MAX_URL = len("https://") + MAX_HOST + len(":65535")
MAX_ADDRESSES = 8
MAX_NETWORKS = 8
MAX_FLOATING = 16  # floating addresses that a node claims
MAX_NUMBER = (1 << 31) - 1  # of a claim to a floating address
MAX_GROUPS = 16
MAX_ROUTES = 32
MAX_LABEL = 63  # of a DNS name (RFC 1035, section 2.3.4)
MAX_REVISION = (1 << 31) - 1
# Of a tun, in bytes: what every IPv4 host must take (RFC 791), what Ethernet has, and the most that
# the kernel allows.
MIN_MTU, DEFAULT_MTU, MAX_MTU = 576, 1500, 65_521
MAX_INTERESTS = 1 << 14  # bytes of one message about multicast groups: a fifth of a millisecond
MAX_INTEREST_SOURCES = 64  # that are told of one group; who wants more is sent all
