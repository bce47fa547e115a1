//! The messages of the protocol.
//!
//! Each decoder returns whether the bytes are such a message.

use bytes::Bytes;
use phalanx_core::{
    gather::List,
    wire::{
        BlockMessage, Control, DeadLetter, Event, Grouping, JoinKind, Lease, OutputMessage,
        PartitionBlocks, Probe, ProbeReply, ResultMessage, Return, TaskMessage,
    },
};

macro_rules! decoders {
    ($($(#[$docs:meta])* $name:ident: $message:ty,)*) => {$(
        $(#[$docs])*
        pub fn $name(bytes: &[u8]) -> bool {
            <$message>::decode(&Bytes::copy_from_slice(bytes)).is_ok()
        }
    )*};
}

decoders! {
    /// A task, which workers read from a task queue.
    task: TaskMessage,
    /// A probe, which workers read from a task queue.
    probe: Probe,
    /// The result of a task, which leaders read from their reply queue.
    result: ResultMessage,
    /// A returned task, which leaders read from their reply queue.
    returned: Return,
    /// A lease, which leaders read from their reply queue.
    lease: Lease,
    /// A reply to a probe, which leaders read from their reply queue.
    probe_reply: ProbeReply,
    /// A control message, which workers read from their control queue.
    control: Control,
    /// A block, which workers read from the queue of a partition.
    block_message: BlockMessage,
    /// Outputs, which leaders read from the queue of a task.
    outputs: OutputMessage,
    /// An event, which leaders read from their event queue.
    event: Event,
}

/// A block of an exchange, which workers read from the payload of a task.
pub fn block(bytes: &[u8]) -> bool {
    phalanx_core::wire::Block::read(bytes).is_ok_and(|block| {
        block.iter().for_each(drop);
        true
    })
}

/// The list of a partition whose only block on either side has these bytes, for each grouping.
/// Workers gather it, and leaders do so for elements that failed.
pub fn list(bytes: &[u8]) -> bool {
    let groupings = [
        Grouping::Combine,
        Grouping::Count,
        Grouping::Group,
        Grouping::Distinct,
        Grouping::Join(JoinKind::Full),
        Grouping::Cogroup,
        Grouping::Filter { present: true },
        Grouping::Intersection,
        Grouping::Subtract,
        Grouping::Zip,
    ];
    let payload = Bytes::from([bytes, bytes].concat());
    let length = bytes.len() as u32;
    let partition = PartitionBlocks { partition: 0, blocks: vec![length], second: vec![length] };
    let gathered = groupings.map(|grouping| {
        let list = List::gather(grouping, &payload, &partition).ok()?;
        let last = list.elements().checked_sub(1)?;
        list.key(last)?;
        list.element(last).ok()?.write_value(&mut Vec::new());
        Some(())
    });
    gathered.iter().any(Option::is_some)
}

/// The framed elements of a task, which workers read.
pub fn framed(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if phalanx_core::codec::read_frame(&mut bytes).is_none() {
            return false;
        }
    }
    true
}

/// A dead letter, which leaders and the command line read.
pub fn dead_letter(bytes: &[u8]) -> bool {
    let letter = DeadLetter::decode(&Bytes::copy_from_slice(bytes));
    letter.is_ok_and(|letter| {
        letter.elements().for_each(drop);
        true
    })
}
