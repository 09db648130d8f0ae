"""The kernel's interfaces, addresses and routes: set up, asked for and watched over netlink."""
