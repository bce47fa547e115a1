//! Describes how a process ended.

use std::process::ExitStatus;

/// Describes how a process ended, as in "the child process …".
pub(super) fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match (signal, name(signal)) {
            // The usual sender is the kernel, when memory runs out.
            (9, _) => "killed by SIGKILL (out of memory?)".to_owned(),
            (_, Some(name)) => format!("killed by {name}"),
            (signal, None) => format!("killed by signal {signal}"),
        };
    }
    match status.code() {
        Some(code) => format!("exited with code {code}"),
        None => status.to_string(),
    }
}

/// The name of a signal that crashes raise, or that has the same number on every Unix.
#[cfg(unix)]
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 if cfg!(target_os = "linux") => "SIGBUS",
        10 if cfg!(target_vendor = "apple") => "SIGBUS",
        8 => "SIGFPE",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn exit_codes_and_signals_are_described() {
        for (raw, words) in [
            (0, "exited with code 0"),
            (3 << 8, "exited with code 3"),
            (6, "killed by SIGABRT"),
            (9, "killed by SIGKILL (out of memory?)"),
            (11 | 0x80, "killed by SIGSEGV"),
            (64, "killed by signal 64"),
        ] {
            assert_eq!(describe(ExitStatus::from_raw(raw)), words);
        }
    }
}
