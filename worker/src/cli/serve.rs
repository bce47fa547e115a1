//! Serves as the command line requests, and converts the outcome to an exit code.

use std::{fmt::Write, sync::Arc, time::Duration};

use phalanx_core::{
    broker::{self, Broker, BrokerUrl, ConnectError, ConnectOptions, Role},
    registry::Registry,
    report::with_causes,
};
use tokio::time::Instant;

use super::{arguments::Arguments, exit_code::Code, health::Health, signals::Signals};
use crate::{Worker, WorkerOptions};

/// How many operations the startup line lists.
const MAX_NAMED_OPERATIONS: usize = 8;

/// How long closing the connection may take, which includes sending the last acks.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often the worker is asked whether it serves, until it does.
const READY_INTERVAL: Duration = Duration::from_millis(20);

/// The least time that a connected worker has to begin to consume, however short the time to connect
/// is. It listens to leaders for a second first.
const LEAST_CONSUME_TIMEOUT: Duration = Duration::from_secs(5);

/// The first pause before the next attempt to connect. Each further pause is twice as long.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Serves until a signal or a failure ends the worker. `log` receives lines for the user.
pub(super) async fn serve(arguments: Arguments, log: impl Fn(&str)) -> Code {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            log(&format!("error: cannot listen for signals: {error}"));
            return Code::System;
        }
    };
    let url = match BrokerUrl::parse(&arguments.url) {
        Ok(url) => url,
        Err(error) => {
            log(&format!("error: {}", with_causes(&error)));
            return Code::Usage;
        }
    };
    if url.scheme() == "memory" {
        log("error: workers of memory:// live in the leader's process; set PHALANX_URL=amqp://… \
             (or --url), or just run the program");
        return Code::Usage;
    }
    let registry = match Registry::global() {
        Ok(registry) => registry,
        Err(error) => {
            log(&format!("error: {}", with_causes(&error)));
            return Code::Registry;
        }
    };
    let deadline = Instant::now() + arguments.connect_timeout;
    let broker = tokio::select! {
        broker = connect(&arguments, &url, deadline, &log) => broker,
        () = signals.next() => return Code::Success,
    };
    let broker = match broker {
        Ok(broker) => broker,
        Err(error) => {
            log(&format!("error: {}{}", with_causes(&error), advice(&error)));
            return match error {
                ConnectError::Url { .. } | ConnectError::Scheme { .. } => Code::Usage,
                _ => Code::Broker,
            };
        }
    };
    let options = arguments.options();
    let first_line = first_line(&options, registry, &*broker);
    let worker = Arc::new(Worker::start(Arc::clone(&broker), options));
    let checked = Arc::clone(&worker);
    let health = match arguments.health {
        None => None,
        Some(address) => match Health::serve(address, move || checked.is_ready()).await {
            Ok(health) => Some(health),
            Err(error) => {
                log(&format!("error: cannot listen at --health {address}: {error}"));
                return Code::System;
            }
        },
    };
    let deadline = deadline.max(Instant::now() + LEAST_CONSUME_TIMEOUT);
    let mut ready = tokio::time::interval(READY_INTERVAL);
    let (mut is_serving, mut is_draining) = (false, false);
    let exit = loop {
        // Cancel-safe: `finished` and `next` only observe, and a lost tick is followed by another.
        tokio::select! {
            exit = worker.finished() => break exit,
            _ = ready.tick(), if !is_serving && !is_draining => {
                is_serving = worker.is_ready();
                if is_serving {
                    log(&first_line);
                } else if Instant::now() >= deadline {
                    let error = never_served(&*broker);
                    // Its attempts to reconnect are logged, and that the worker ends because of
                    // this; the error is to be the last line.
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, broker.close()).await;
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, worker.finished()).await;
                    log(&format!("error: {}", with_causes(&error)));
                    return Code::Broker;
                }
            }
            () = signals.next() => {
                if is_draining {
                    // Without a connection, the broker requeues the worker's deliveries.
                    log("phalanx worker: stopped by a second signal");
                    return Code::Stopped;
                }
                is_draining = true;
                log("phalanx worker: draining; a second signal stops it at once");
                worker.drain();
            }
        }
    };
    drop(health);
    // The last acks must reach the broker, but an unreachable broker must not delay the exit.
    let timeout = if broker.health().borrow().connected { CLOSE_TIMEOUT } else { Duration::ZERO };
    let _ = tokio::time::timeout(timeout, broker.close()).await;
    log(&format!("phalanx worker: {}", with_causes(&exit)));
    Code::from(&exit)
}

/// The error of a worker that connected and did not begin to consume in time: the broker ends each
/// connection as soon as it is open, or does not reply.
fn never_served(broker: &dyn Broker) -> ConnectError {
    let reason = broker.health().borrow().reason.clone();
    let reason = reason.unwrap_or_else(|| "connected, but could not consume tasks".to_owned());
    ConnectError::Unreachable { url: broker.url().to_string(), reason, source: None }
}

/// Connects. While the broker is unreachable, or the virtual host is not there or not yet this
/// user's, tries again until the deadline; all other errors are permanent and returned at once.
async fn connect(
    arguments: &Arguments,
    url: &BrokerUrl,
    until: Instant,
    log: &impl Fn(&str),
) -> Result<Arc<dyn Broker>, ConnectError> {
    let mut pause = FIRST_RETRY_PAUSE;
    loop {
        let mut options = ConnectOptions::new(Role::Worker);
        // This loop tries again.
        options.connect_timeout = Duration::ZERO;
        options.namespace.clone_from(&arguments.namespace);
        match broker::connect(url.clone(), options).await {
            Err(error @ (ConnectError::Unreachable { .. } | ConnectError::VirtualHost { .. }))
                if Instant::now() + pause < until =>
            {
                if pause == FIRST_RETRY_PAUSE {
                    log(&format!(
                        "phalanx worker: waiting for the broker: {}",
                        with_causes(&error)
                    ));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
            }
            other => return other,
        }
    }
}

/// Advice for the user, if the error does not include it.
fn advice(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { .. } => "; start a broker there, or correct --url",
        ConnectError::Credentials { .. } => "; correct the user and password of --url",
        ConnectError::VirtualHost { .. } => {
            "; create it, give the user access, or correct the path of --url"
        }
        _ => "",
    }
}

/// The startup line: the pools, slots and operations that the worker serves.
fn first_line(options: &WorkerOptions, registry: &Registry, broker: &dyn Broker) -> String {
    let pools: Vec<&str> = options.pools.iter().map(|pool| pool.as_str()).collect();
    let names: Vec<&str> = registry.iter().map(|operation| operation.name()).collect();
    let mut line = format!(
        "phalanx worker {}: pools {}; {} slots, {} asynchronous; {} operations",
        options.name,
        pools.join(", "),
        options.slots,
        options.async_slots,
        names.len(),
    );
    let more = names.len().saturating_sub(MAX_NAMED_OPERATIONS);
    let named = names[..names.len() - more].join(", ");
    let _ = match (names.is_empty(), more) {
        (true, _) => write!(line, " (add `use my_operations as _;`)"),
        (false, 0) => write!(line, " ({named})"),
        (false, more) => write!(line, " ({named} and {more} more)"),
    };
    let _ = write!(line, "; broker {}", broker.url());
    line
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, sync::Mutex};

    use super::*;

    async fn logged(line: &[&str]) -> (Code, String) {
        let arguments = Arguments::parse(line.iter().map(OsString::from)).unwrap();
        let lines = Mutex::new(String::new());
        let code = serve(arguments, |line| lines.lock().unwrap().push_str(line)).await;
        (code, lines.into_inner().unwrap())
    }

    #[tokio::test]
    async fn memory_urls_are_refused_with_advice() {
        let (code, text) = logged(&["w", "--url", "memory://"]).await;
        assert_eq!(code, Code::Usage);
        assert!(text.contains("live in the leader's process"), "{text}");
    }

    #[tokio::test]
    async fn invalid_urls_are_refused_without_showing_the_password() {
        for url in ["ann:secret@host", "carrier-pigeon://ann:secret@host"] {
            let (code, text) = logged(&["w", "--url", url]).await;
            assert_eq!(code, Code::Usage, "{text}");
            assert!(!text.contains("secret"), "{text}");
        }
    }
}
