//! The address of a reply.

use phalanx_core::{
    broker::{MessageKind, Properties},
    id::{CopyId, LeaderId},
};

/// The address of the reply to a message. Read from its properties alone, so that even a body that
/// does not decode can be replied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyAddress {
    pub(crate) leader: LeaderId,
    /// The copy that the reply is about; `None` for a probe.
    pub(crate) copy: Option<CopyId>,
}

impl ReplyAddress {
    /// `None` when the properties name no leader, or a task names no copy.
    pub(crate) fn of(properties: &Properties) -> Option<Self> {
        let leader = properties.reply_to?;
        match properties.kind {
            Some(MessageKind::Probe) => Some(Self { leader, copy: None }),
            _ => Some(Self { leader, copy: Some(properties.copy?) }),
        }
    }
}
