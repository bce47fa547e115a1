//! Removes a node when the process that started it ends.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A shell that waits until a pipe is closed, then kills the node and removes its data.
///
/// The kernel closes the pipe however the process ends, so a killed test leaves nothing behind. A
/// node that is dropped is removed in the same way.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

/// A killed process may still write for a moment, so the removal is tried more than once.
const SCRIPT: &str = r#"
    trap '' INT TERM HUP
    while read -r _; do :; done
    case $1 in
        group) kill -KILL "-$2" ;;
        container) docker rm --force --volumes "$2" ;;
        cluster)
            docker rm --force --volumes "$2-1" "$2-2" "$2-3"
            docker network rm "$2-clients-1" "$2-clients-2" "$2-clients-3" "$2-nodes" ;;
    esac
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf -- "$3" && break
        sleep 0.1
    done"#;

impl Watchdog {
    /// Watches a process group. Its leader must not be reaped before [`Watchdog::end`]: until then
    /// its process id is not reused.
    pub(crate) fn of_group(group: u32, data: &Path) -> io::Result<Self> {
        Self::of("group", &group.to_string(), data)
    }

    /// Watches a container.
    pub(crate) fn of_container(name: &str, data: &Path) -> io::Result<Self> {
        Self::of("container", name, data)
    }

    /// Watches the containers and networks of a cluster.
    pub(crate) fn of_cluster(name: &str, data: &Path) -> io::Result<Self> {
        Self::of("cluster", name, data)
    }

    fn of(kind: &str, name: &str, data: &Path) -> io::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", kind, name]).arg(data);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a separate process group: Ctrl-C must end the test but not its watchdog.
        let mut shell = command.process_group(0).current_dir("/").spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Kills the node, removes its data and returns when both are done.
    pub(crate) fn end(&mut self) {
        drop(self.pipe.take());
        // An error means that the shell was reaped already.
        let _ = self.shell.wait();
    }
}
