//! The points of the protocol at which a worker kills itself.

use std::{
    fmt,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use phalanx_core::broker::MessageKind;
use rustix::process::Signal;

/// The time for acks to reach the broker: workers send them in groups.
const ACK_TIME: Duration = Duration::from_millis(100);

/// A point on the path of a delivery through a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// A delivery has arrived, but its task has not started.
    Delivered,
    /// A delivery has arrived that is marked as redelivered.
    Redelivered,
    /// An element is running.
    Running,
    /// The task has run, but its result is not published yet.
    Replying,
    /// The result is published, but the broker has not confirmed it.
    Published,
    /// The broker has confirmed the result, but the delivery is not acked.
    Confirmed,
    /// The worker has acked the delivery; the ack may not have been sent.
    Acking,
    /// The broker has received the ack.
    Acked,
    /// The worker returns the task unrun, but the return is not published yet.
    Returning,
    /// The broker has confirmed the return, but the delivery is not acked.
    Returned,
    /// The worker is about to lease the task.
    Leasing,
}

impl Point {
    /// All points, with the names that [`Death`] parses and displays.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Delivered, "delivered"),
        (Self::Redelivered, "redelivered"),
        (Self::Running, "running"),
        (Self::Replying, "replying"),
        (Self::Published, "published"),
        (Self::Confirmed, "confirmed"),
        (Self::Acking, "acking"),
        (Self::Acked, "acked"),
        (Self::Returning, "returning"),
        (Self::Returned, "returned"),
        (Self::Leasing, "leasing"),
    ];

    /// The points that every job reaches.
    pub const COMMON: [Self; 7] = [
        Self::Delivered,
        Self::Running,
        Self::Replying,
        Self::Published,
        Self::Confirmed,
        Self::Acking,
        Self::Acked,
    ];

    /// The points that a worker reaches only after another was lost, or with a long element.
    pub const RARE: [Self; 4] = [Self::Redelivered, Self::Returning, Self::Returned, Self::Leasing];

    /// The point before a message of this kind is published.
    pub(crate) fn before(kind: Option<MessageKind>) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Replying),
            MessageKind::Return => Some(Self::Returning),
            MessageKind::Lease => Some(Self::Leasing),
            _ => None,
        }
    }

    /// The point after the broker has confirmed a message of this kind.
    pub(crate) fn after(kind: Option<MessageKind>) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Confirmed),
            MessageKind::Return => Some(Self::Returned),
            _ => None,
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(point, _)| point == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// Kills a worker when it reaches a point for the n-th time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// The point at which the worker dies.
    pub point: Point,
    /// How often the worker must reach the point, from 1.
    pub nth: u32,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point, self.nth)
    }
}

impl FromStr for Death {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = text.split_once(':').ok_or("expected POINT:N")?;
        let known = Point::ALL.iter().find(|(_, known)| *known == name);
        let (point, _) = known.ok_or_else(|| format!("unknown point `{name}`"))?;
        let nth = nth.parse().map_err(|error| format!("`{nth}`: {error}"))?;
        Ok(Self { point: *point, nth })
    }
}

/// The death of this process, set when it connects: child processes of workers never connect.
static ARMED: OnceLock<(Death, AtomicU32)> = OnceLock::new();

/// Sets the death of this process.
pub(crate) fn arm(death: Death) {
    // A process connects once.
    let _ = ARMED.set((death, AtomicU32::new(0)));
}

/// Counts a visit to a point; `true` if the process must die here.
pub(crate) fn is_due(point: Point) -> bool {
    match ARMED.get() {
        Some((death, reached)) if death.point == point => {
            reached.fetch_add(1, Ordering::Relaxed) + 1 == death.nth
        }
        _ => false,
    }
}

/// Counts a visit to a point, and kills the process if it must die here.
pub(crate) fn reach(point: Point) {
    if is_due(point) {
        die();
    }
}

/// As [`reach`], but the process dies 100 ms later.
pub(crate) fn reach_soon(point: Point) {
    if is_due(point) {
        std::thread::spawn(|| {
            std::thread::sleep(ACK_TIME);
            die();
        });
    }
}

/// Ends this process as `kill -9` does.
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    // Unreachable: the signal cannot be caught.
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_parses_from_what_it_displays() {
        for (point, _) in Point::ALL {
            let death = Death { point, nth: 7 };
            assert_eq!(death.to_string().parse(), Ok(death));
        }
        assert!("nowhere:1".parse::<Death>().is_err());
        assert!("acked".parse::<Death>().is_err());
    }
}
