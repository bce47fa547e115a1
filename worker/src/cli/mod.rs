//! The command line of a worker.

mod arguments;
mod causes;
mod code;
mod dead_letters;
mod duration;
mod health;
mod serve;
mod signals;

use std::{io::Write, process::ExitCode};

use arguments::{Arguments, Errand};
pub(crate) use signals::Signals;

/// Serves operations until it is told to drain: what the `main` of a worker calls.
///
/// Flags and environment say where and how; `--help` lists them, and the exit codes. A leading
/// argument `worker` is skipped, so that one program can be leader and worker. `dead-letters` lists,
/// shows, runs again and drops the elements that failed for good.
///
/// Tasks that may end the process which runs them run in child processes: the same program, started
/// again with the same arguments, comes here too. What happens before that happens in each of them.
///
/// ```no_run
/// // use my_operations as _;
///
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     phalanx_worker::main().await
/// }
/// ```
#[expect(clippy::print_stderr, reason = "a command line talks to people")]
pub async fn main() -> ExitCode {
    if let Some(code) = crate::isolated().await {
        return code;
    }
    let code = match Arguments::parse(std::env::args_os()) {
        Ok(mut arguments) => {
            let say = |line: &str| eprintln!("{line}");
            match arguments.errand.take() {
                None => serve::serve(arguments, say).await,
                Some(Errand::DeadLetters(errand)) => {
                    let Arguments { url, namespace, .. } = &arguments;
                    dead_letters::run(errand, url, namespace, say, print).await
                }
            }
        }
        Err(error) => {
            // Help and version are asked for, and go to the standard output.
            let _ = error.print();
            if error.use_stderr() { code::Code::Usage } else { code::Code::Drained }
        }
    };
    code.into()
}

/// To the standard output; whoever closes it wants no more.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
