"""vppctl: VETH pairs across network namespaces, configured through etcd. Mirrors ligato's vpp-agent-ctl."""

__version__ = "0.1.0"
