//! See the facade crate `phalanx`.
