"""The pure core: desired and observed state in, a plan out."""
