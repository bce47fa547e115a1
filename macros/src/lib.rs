//! The derive and attribute macros of Phalanx.
