//! From a command line to an exit code.

use std::{fmt::Write, sync::Arc, time::Duration};

use phalanx_core::{
    broker::{self, Broker, BrokerUrl, ConnectError, ConnectOptions, Role},
    registry::Registry,
};
use tokio::time::Instant;

use super::{
    arguments::Arguments, causes::with_causes, code::Code, health::Health, signals::Signals,
};
use crate::{Worker, WorkerOptions};

/// How many operations the first line names.
const NAMED: usize = 8;

/// How long the broker may take to say good-bye.
const CLOSING: Duration = Duration::from_secs(3);

/// Serves as the command line says, and tells people about it by `say`.
pub(super) async fn serve(arguments: Arguments, say: impl Fn(&str)) -> Code {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("error: signals cannot be heard: {error}"));
            return Code::System;
        }
    };
    let url = match BrokerUrl::parse(&arguments.url) {
        Ok(url) => url,
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            return Code::Usage;
        }
    };
    if url.scheme() == "memory" {
        say("error: workers of memory:// live in the leader's process: set \
             PHALANX_URL=amqp://… (or --url), or just run the program");
        return Code::Usage;
    }
    let registry = match Registry::global() {
        Ok(registry) => registry,
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            return Code::Registry;
        }
    };
    let broker = tokio::select! {
        broker = connect(&arguments, &url, &say) => broker,
        () = signals.next() => return Code::Drained,
    };
    let broker = match broker {
        Ok(broker) => broker,
        Err(error) => {
            say(&format!("error: {}{}", with_causes(&error), advice(&error)));
            return match error {
                ConnectError::Url { .. } | ConnectError::Scheme { .. } => Code::Usage,
                _ => Code::Broker,
            };
        }
    };
    let options = arguments.options();
    say(&first_line(&options, registry, &*broker));
    let worker = Arc::new(Worker::start(Arc::clone(&broker), options));
    let looked_at = Arc::clone(&worker);
    let health = match arguments.health {
        None => None,
        Some(address) => match Health::serve(address, move || looked_at.is_ready()).await {
            Ok(health) => Some(health),
            Err(error) => {
                say(&format!("error: --health {address}: {error}"));
                return Code::System;
            }
        },
    };
    let mut told = false;
    let exit = loop {
        tokio::select! {
            exit = worker.finished() => break exit,
            () = signals.next() => {
                if told {
                    // What it holds goes back to the broker with the connection.
                    say("phalanx worker: stopped by a second signal");
                    return Code::Stopped;
                }
                told = true;
                say("phalanx worker: draining; a second signal ends at once");
                worker.drain();
            }
        }
    };
    drop(health);
    // Acks that are still on their way must get there; a broker that is away must not hold us up.
    let closing = if broker.health().borrow().connected { CLOSING } else { Duration::ZERO };
    let _ = tokio::time::timeout(closing, broker.close()).await;
    say(&format!("phalanx worker: {}", with_causes(&exit)));
    Code::from(&exit)
}

/// Tries until the broker answers or the time is over; what will not change by itself ends it at
/// once.
async fn connect(
    arguments: &Arguments,
    url: &BrokerUrl,
    say: &impl Fn(&str),
) -> Result<Arc<dyn Broker>, ConnectError> {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(2);
    let until = Instant::now() + arguments.connect_timeout;
    let mut pause = FIRST;
    loop {
        let mut options = ConnectOptions::new(Role::Worker);
        options.namespace.clone_from(&arguments.namespace);
        match broker::connect(url.clone(), options).await {
            Err(error @ ConnectError::Unreachable { .. }) if Instant::now() + pause < until => {
                if pause == FIRST {
                    say(&format!("phalanx worker: waiting: {}", with_causes(&error)));
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
            other => return other,
        }
    }
}

/// What to do about it, where the error does not say so itself.
fn advice(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Unreachable { .. } => "; start a broker there, or correct --url",
        ConnectError::Credentials { .. } => "; correct the user and password of --url",
        ConnectError::VirtualHost { .. } => {
            "; create it, allow the user in, or correct the path of --url"
        }
        _ => "",
    }
}

/// What it serves, in one line.
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
    let more = names.len().saturating_sub(NAMED);
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

    async fn told(line: &[&str]) -> (Code, String) {
        let arguments = Arguments::parse(line.iter().map(OsString::from)).unwrap();
        let said = Mutex::new(String::new());
        let code = serve(arguments, |line| said.lock().unwrap().push_str(line)).await;
        (code, said.into_inner().unwrap())
    }

    #[tokio::test]
    async fn memory_is_no_place_for_a_worker_of_its_own() {
        let (code, said) = told(&["w", "--url", "memory://"]).await;
        assert_eq!(code, Code::Usage);
        assert!(said.contains("live in the leader's process"), "{said}");
    }

    #[tokio::test]
    async fn a_url_that_names_no_broker_is_refused_without_its_password() {
        for url in ["ann:secret@host", "carrier-pigeon://ann:secret@host"] {
            let (code, said) = told(&["w", "--url", url]).await;
            assert_eq!(code, Code::Usage, "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
