//! The peers that Phalanx is compared with.

pub(crate) mod blocks;
pub(crate) mod by_hand;
pub(crate) mod lapin;
pub(crate) mod paladin;
pub(crate) mod renoir;
