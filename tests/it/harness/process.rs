//! The real binary, which can be killed.
