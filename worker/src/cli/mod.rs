//! The command line of a worker.

mod arguments;
mod dead_letters;
mod duration;
mod exit_code;
mod health;
#[cfg(feature = "log")]
mod log;
mod serve;
mod signals;
mod size;

use std::{io::Write, process::ExitCode};

use arguments::{Arguments, Command};
pub(crate) use signals::Signals;

/// Serves the operations of this program until SIGTERM or Ctrl-C. Call it in the `main` of a
/// worker.
///
/// Flags and environment variables configure it; `--help` lists them and the exit codes. A first
/// argument `worker` is skipped, so that one program can be both leader and worker. The subcommand
/// `dead-letters` lists, shows, replays and deletes the elements that failed permanently.
///
/// Log events go to standard error if the program has no `tracing` subscriber (feature `log`, which
/// is on by default). `PHALANX_LOG` selects them: a level, or levels by target, as in
/// `info,phalanx_amqp=debug`. Default: `warn`, without those of
/// lapin.
///
/// Tasks that may have killed a worker run in child processes. Each of them is this program again,
/// with the same arguments, and runs everything that precedes this call.
///
/// ```no_run
/// // The operations must be linked into the program:
/// // use my_operations as _;
///
/// #[tokio::main]
/// async fn main() -> std::process::ExitCode {
///     phalanx::worker::main().await
/// }
/// ```
#[expect(clippy::print_stderr, reason = "this is a command line")]
pub async fn main() -> ExitCode {
    #[cfg(feature = "log")]
    if let Err(error) = log::install() {
        eprintln!("error: {} is no filter of log events: {error}", log::VARIABLE);
        return exit_code::Code::Usage.into();
    }
    if let Some(code) = crate::isolated().await {
        return code;
    }
    let code = match Arguments::parse(std::env::args_os()) {
        Ok(mut arguments) => {
            let log = |line: &str| eprintln!("{line}");
            match arguments.command.take() {
                None => {
                    phalanx_core::registry::treat_exit_as_crash();
                    serve::serve(arguments, log).await
                }
                Some(Command::DeadLetters(command)) => {
                    let Arguments { url, namespace, .. } = &arguments;
                    dead_letters::run(command, url, namespace, log, print).await
                }
            }
        }
        Err(error) => {
            // Help and version were requested; clap prints them to the standard output.
            let _ = error.print();
            match error.use_stderr() {
                true => exit_code::Code::Usage,
                false => exit_code::Code::Success,
            }
        }
    };
    code.into()
}

/// Prints to the standard output; ignores that a reader has closed it.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
