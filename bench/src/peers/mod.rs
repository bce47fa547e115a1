//! The peers that Phalanx is compared with.

pub(crate) mod lapin;
pub(crate) mod paladin;
