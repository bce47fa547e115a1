//! The two directions of one connection.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, watch},
};

use crate::{BrokerMethod, Traffic};

const BUFFER: usize = 64 << 10;

/// The current settings of the proxy, shared with its connections.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) traffic: watch::Receiver<Traffic>,
    /// How often the proxy silenced its open connections.
    pub(crate) silenced: watch::Receiver<u64>,
    /// The value of `silenced` when this connection was opened.
    pub(crate) opened_at: u64,
    /// Bytes of the clients that were discarded.
    pub(crate) discarded: watch::Sender<usize>,
    /// What the broker sends and the clients do not see.
    pub(crate) hidden: watch::Receiver<Option<BrokerMethod>>,
}

impl Rules {
    /// Waits while traffic is stalled.
    async fn may_read(&mut self) {
        // An error means that the proxy was dropped: its settings no longer change.
        let _ = self.traffic.wait_for(|traffic| *traffic != Traffic::Stall).await;
    }

    /// Sends bytes on; returns `false` if they were discarded.
    async fn forward(&mut self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<bool> {
        // The bytes may have been read just before traffic was stalled.
        self.may_read().await;
        if *self.silenced.borrow() != self.opened_at {
            return Ok(false);
        }
        let traffic = *self.traffic.borrow();
        match traffic {
            Traffic::Discard => return Ok(false),
            Traffic::Delay(delay) => tokio::time::sleep(delay).await,
            Traffic::Forward | Traffic::Stall => {}
        }
        to.write_all(bytes).await?;
        Ok(true)
    }
}

/// From a client to the broker.
pub(crate) async fn upstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut rules: Rules,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        rules.may_read().await;
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if !rules.forward(&mut to, &buffer[..read]).await? {
            rules.discarded.send_modify(|bytes| *bytes += read);
        }
    }
}

/// From the broker to a client. Only whole frames are sent, so that frames can be injected between
/// two of them.
pub(crate) async fn downstream(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut injected: mpsc::UnboundedReceiver<Vec<u8>>,
    mut rules: Rules,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        rules.may_read().await;
        buffer.reserve(BUFFER);
        // At most as much as upstream, so that a delay limits both to the same rate.
        let mut next = (&mut from).take(BUFFER as u64);
        tokio::select! {
            read = next.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
            Some(frame) = injected.recv() => {
                rules.forward(&mut to, &frame).await?;
                continue;
            }
        }
        let whole = whole_frames(&buffer);
        if whole > 0 {
            let mut frames: Vec<u8> = buffer.drain(..whole).collect();
            if let Some(hidden) = *rules.hidden.borrow() {
                frames = without(hidden, &frames);
            }
            rules.forward(&mut to, &frames).await?;
        }
    }
}

/// Whole frames without those of this method.
fn without(hidden: BrokerMethod, mut frames: &[u8]) -> Vec<u8> {
    const METHOD: u8 = 1;
    // The class, 50 for `queue` and 60 for `basic`, and the method.
    let method = match hidden {
        BrokerMethod::DeclareOk => [0, 50, 0, 11],
        BrokerMethod::ConsumeOk => [0, 60, 0, 21],
        BrokerMethod::Cancel => [0, 60, 0, 30],
        BrokerMethod::Ack => [0, 60, 0, 80],
    };
    let mut rest = Vec::with_capacity(frames.len());
    while let Some([kind, _, _, a, b, c, d]) = frames.first_chunk() {
        let (frame, rest_of_frames) =
            frames.split_at(7 + u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1);
        if *kind != METHOD || !frame[7..].starts_with(&method) {
            rest.extend_from_slice(frame);
        }
        frames = rest_of_frames;
    }
    rest
}

/// The length of all whole frames at the start of these bytes. A frame is a type, a channel, a
/// length, a payload of that length and an end mark.
fn whole_frames(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some([_, _, _, a, b, c, d]) = bytes[whole..].first_chunk() {
        let end = whole + 7 + u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1;
        if end > bytes.len() {
            break;
        }
        whole = end;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hidden_method_is_removed() {
        let frame = |kind: u8, payload: &[u8]| {
            let length = (payload.len() as u32).to_be_bytes();
            [&[kind, 0, 1], &length[..], payload, &[0xCE]].concat()
        };
        let cancel = frame(1, &[0, 60, 0, 30, 0, 1]);
        let others =
            [frame(1, &[0, 60, 0, 31, 0]), frame(3, &[0, 60, 0, 30]), frame(8, &[])].concat();
        let frames = [&others[..], &cancel, &others].concat();
        assert_eq!(without(BrokerMethod::Cancel, &frames), others.repeat(2));
        assert_eq!(without(BrokerMethod::Ack, &frames), frames);
    }

    #[test]
    fn an_incomplete_frame_is_kept_until_it_is_complete() {
        let frame = [1, 0, 0, 0, 0, 0, 2, 7, 7, 0xCE];
        let two = [frame, frame].concat();
        for (bytes, whole) in [(0, 0), (6, 0), (9, 0), (10, 10), (19, 10), (20, 20)] {
            assert_eq!(whole_frames(&two[..bytes]), whole, "of {bytes} bytes");
        }
    }
}
