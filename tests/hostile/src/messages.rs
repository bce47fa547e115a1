//! The messages of the protocol.

use bytes::Bytes;
use phalanx_core::wire::{
    Control, DeadLetter, Event, Lease, ProbeReply, ResultMessage, Return, TaskMessage,
};

macro_rules! decoders {
    ($($(#[$docs:meta])* $name:ident: $message:ty,)*) => {$(
        $(#[$docs])*
        pub fn $name(bytes: &[u8]) {
            let _ = <$message>::decode(&Bytes::copy_from_slice(bytes));
        }
    )*};
}

decoders! {
    /// What workers read from a task queue.
    task: TaskMessage,
    /// What leaders read from workers.
    result: ResultMessage,
    /// What leaders read from workers.
    returned: Return,
    /// What leaders read from workers.
    lease: Lease,
    /// What leaders read from workers.
    probe_reply: ProbeReply,
    /// What workers read from leaders.
    control: Control,
    /// What leaders read of workers.
    event: Event,
}

/// What people read.
pub fn dead_letter(bytes: &[u8]) {
    if let Ok(letter) = DeadLetter::decode(&Bytes::copy_from_slice(bytes)) {
        letter.elements().for_each(drop);
    }
}
