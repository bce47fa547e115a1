//! A TCP proxy between a broker and its clients, which cuts connections, delays, stalls and
//! discards bytes, and sends frames as if it were the broker.

mod broker_method;
mod pipe;
mod proxy;
mod traffic;
mod url;

pub use broker_method::BrokerMethod;
pub use proxy::Proxy;
pub use traffic::Traffic;
pub use url::Parts;
