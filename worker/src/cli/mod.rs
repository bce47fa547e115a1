//! The command line of a worker.

mod arguments;
mod code;
mod duration;
mod health;
mod serve;
mod signals;

use std::process::ExitCode;

use arguments::Arguments;
pub(crate) use signals::Signals;

/// Serves operations until it is told to drain: what the `main` of a worker calls.
///
/// Flags and environment say where and how; `--help` lists them, and the exit codes. A leading
/// argument `worker` is skipped, so that one program can be leader and worker.
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
    if let Some(code) = crate::contained().await {
        return code;
    }
    let code = match Arguments::parse(std::env::args_os()) {
        Ok(arguments) => serve::serve(arguments, |line| eprintln!("{line}")).await,
        Err(error) => {
            // Help and version are asked for, and go to the standard output.
            let _ = error.print();
            if error.use_stderr() { code::Code::Usage } else { code::Code::Drained }
        }
    };
    code.into()
}
