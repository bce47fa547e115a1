//! Where in the protocol a worker kills itself.

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

/// Long enough for acks that are gathered to be on their way.
const ACKED: Duration = Duration::from_millis(100);

/// A point on the way of a delivery through a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The delivery came; it has not begun.
    Delivered,
    /// A delivery came that another worker held before.
    Redelivered,
    /// In the midst of an element.
    Operating,
    /// The batch has run; its result is not published.
    Answering,
    /// The result is on its way; the broker has not confirmed it.
    Answered,
    /// The broker has confirmed the result; the delivery is not acked.
    Confirmed,
    /// The ack was given, and is perhaps on its way.
    Acking,
    /// The ack is with the broker.
    Acked,
    /// The delivery is to be returned unread; the return is not published.
    Returning,
    /// The broker has confirmed the return; the delivery is not acked.
    Returned,
    /// The worker says that it holds a delivery for long.
    Leasing,
}

impl Point {
    /// All of them, with their names.
    pub const ALL: [(Self, &'static str); 11] = [
        (Self::Delivered, "delivered"),
        (Self::Redelivered, "redelivered"),
        (Self::Operating, "operating"),
        (Self::Answering, "answering"),
        (Self::Answered, "answered"),
        (Self::Confirmed, "confirmed"),
        (Self::Acking, "acking"),
        (Self::Acked, "acked"),
        (Self::Returning, "returning"),
        (Self::Returned, "returned"),
        (Self::Leasing, "leasing"),
    ];

    /// The points that every job comes by, whatever else happens.
    pub const COMMON: [Self; 7] = [
        Self::Delivered,
        Self::Operating,
        Self::Answering,
        Self::Answered,
        Self::Confirmed,
        Self::Acking,
        Self::Acked,
    ];

    /// The points that a worker comes by after another was lost, or with an element that takes long.
    pub const RARE: [Self; 4] = [Self::Redelivered, Self::Returning, Self::Returned, Self::Leasing];

    /// Before a message of this kind is published.
    pub(crate) fn before(kind: Option<MessageKind>) -> Option<Self> {
        match kind? {
            MessageKind::Result => Some(Self::Answering),
            MessageKind::Return => Some(Self::Returning),
            MessageKind::Lease => Some(Self::Leasing),
            _ => None,
        }
    }

    /// After the broker has confirmed it.
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

/// The n-th time a worker comes by a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Where it dies.
    pub point: Point,
    /// The how-manieth time it comes there, from 1.
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
        let (name, nth) = text.split_once(':').ok_or("write POINT:N")?;
        let known = Point::ALL.iter().find(|(_, known)| *known == name);
        let (point, _) = known.ok_or_else(|| format!("`{name}` is no point"))?;
        let nth = nth.parse().map_err(|error| format!("`{nth}`: {error}"))?;
        Ok(Self { point: *point, nth })
    }
}

/// Where this process dies: set when it connects, so that processes which only compute for it live.
static ARMED: OnceLock<(Death, AtomicU32)> = OnceLock::new();

/// From now on this process dies there.
pub(crate) fn arm(death: Death) {
    // A process connects once.
    let _ = ARMED.set((death, AtomicU32::new(0)));
}

/// Counts that a point was reached; `true` when this is where the process dies.
pub(crate) fn is_due(point: Point) -> bool {
    match ARMED.get() {
        Some((death, reached)) if death.point == point => {
            reached.fetch_add(1, Ordering::Relaxed) + 1 == death.nth
        }
        _ => false,
    }
}

/// Dies here, if this is where.
pub(crate) fn reach(point: Point) {
    if is_due(point) {
        die();
    }
}

/// As [`reach`], a moment later.
pub(crate) fn reach_soon(point: Point) {
    if is_due(point) {
        std::thread::spawn(|| {
            std::thread::sleep(ACKED);
            die();
        });
    }
}

/// Ends this process as `kill -9` does.
pub(crate) fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    // The signal ends it before it comes here.
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
