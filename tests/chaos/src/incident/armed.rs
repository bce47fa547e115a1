//! The incidents of this process, one after the other.

use std::{
    collections::VecDeque,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::process::Signal;

use super::{Effect, Incident, Point};

/// The time for acks to reach the broker: workers send them in groups.
const ACK_TIME: Duration = Duration::from_millis(100);

/// The incidents that are still to come in this process.
#[derive(Debug)]
struct Armed {
    /// The first of them comes next.
    incidents: VecDeque<Incident>,
    /// How often the process has reached the point of the first.
    reached: u32,
    /// Whether the connections are about to be lost to the last incident: the next one waits until
    /// they are back, or it would hide what that does.
    is_cut_off: bool,
}

/// Set when this process connects: child processes of workers never connect.
static ARMED: Mutex<Armed> =
    Mutex::new(Armed { incidents: VecDeque::new(), reached: 0, is_cut_off: false });

fn armed() -> MutexGuard<'static, Armed> {
    ARMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the incidents of this process.
pub(crate) fn arm(incidents: &[Incident]) {
    armed().incidents = incidents.iter().copied().collect();
}

/// The connections of this process were lost, and are back.
pub(crate) fn reconnected() {
    armed().is_cut_off = false;
}

/// Whether the next incident is at this point.
pub(crate) fn is_next(point: Point) -> bool {
    armed().incidents.front().is_some_and(|next| next.point == point)
}

/// Counts a visit to a point; the incident that happens here, if one does.
pub(crate) fn take(point: Point) -> Option<Incident> {
    let mut armed = armed();
    let next = *armed.incidents.front().filter(|next| next.point == point)?;
    if armed.is_cut_off {
        return None;
    }
    armed.reached += 1;
    if armed.reached < next.nth {
        return None;
    }
    (armed.reached, armed.is_cut_off) = (0, true);
    armed.incidents.pop_front()
}

/// Counts a visit to a point, at which the process is killed or suspended if that is due. Returns
/// whether its connections are about to be lost, for which it must wait itself.
pub(crate) fn reach(point: Point) -> bool {
    take(point).is_some_and(happen)
}

/// As [`reach`], 100 ms later.
pub(crate) fn reach_soon(point: Point) {
    if is_next(point) {
        std::thread::spawn(move || {
            std::thread::sleep(ACK_TIME);
            reach(point);
        });
    }
}

/// Lets it happen. Returns whether the connections of this process are about to be lost.
pub(crate) fn happen(incident: Incident) -> bool {
    if incident.effect == Effect::Kill {
        die();
    }
    // The run does the rest when it reads this line.
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "incident: {incident}").and_then(|()| output.flush());
    drop(output);
    if incident.effect == Effect::Suspend {
        // All threads stop here, before the run can resume them.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        return false;
    }
    true
}

/// Ends this process as `kill -9` does.
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    // Unreachable: the signal cannot be caught.
    std::process::abort()
}
