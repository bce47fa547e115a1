//! The broker that all tests share.

/// The URL of the broker that `cargo xtask test` provides, in `PHALANX_TEST_AMQP_URL`.
///
/// # Panics
/// If the variable is not set; the message explains how to get a broker.
pub fn test_url() -> String {
    std::env::var("PHALANX_TEST_AMQP_URL").unwrap_or_else(|_| {
        panic!(
            "PHALANX_TEST_AMQP_URL is not set: run `cargo xtask test`, which provides a broker, \
             or set it to the URL of one, such as amqp://guest:guest@127.0.0.1:5672/"
        )
    })
}
