//! A TCP proxy between a broker and its clients, which cuts, slows, stalls and swallows, and can
//! speak in the broker's name.

mod pipe;
mod proxy;
mod url;
mod way;

pub use proxy::Proxy;
pub use url::Parts;
pub use way::Way;
