"""The kernel: netlink and namespaces."""
