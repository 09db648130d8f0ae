"""The words for what a node logs, by part of the node.

A word and its fields stay the same from release to release: people search for them and count them.
docs/logs.md says what each of them means.
"""

from __future__ import annotations

from collections.abc import Mapping

_WORDS = {
    "node": """
        starting named predecessor_ends tun_up listening monitoring public_metrics no_control_socket
        page no_page privileges ready not_ready leaving settled gone failed tun_lost bug log_lost
        left_out dropped stock_transport not_watched device_changed device_whole restored
        device_failed host_addresses
        helper_started helper_lost multicast groups_left_out url_found url_unreached url_reached
    """,
    "link": """
        linked unlinked unreachable handshake_failed wasteful leads_back dialing retired closed
        probed gossip crowded_source false_introduction contradiction
        dials_spent revised link_way transport no_udp small_segments groups_ignored
        network_reached network_lost routes_not_used
    """,
    "address": """
        address_conflict address_refused networks_differ name_conflict url_conflict
        address_claimed address_held address_taken address_moved address_failed network_full
        floating_claimed floating_held floating_lost floating_released floating_failed
    """,
    "config": """
        reloaded reload_failed restart_needed not_reloadable doubtful_config certificate_expires
        files_hang files_answer
    """,
    "names": "names names_looped names_unanswered",
}
OTHER = "other"  # what Twisted and other libraries say

PARTS = tuple(_WORDS)
PART_OF: Mapping[str, str] = {
    word: part for part, words in _WORDS.items() for word in words.split()
}
