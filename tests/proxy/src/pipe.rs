//! The two directions of one connection.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, watch},
};

use crate::Way;

const BUFFER: usize = 64 << 10;

/// What a connection of the proxy goes by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) way: watch::Receiver<Way>,
    /// Bytes of the clients that vanished.
    pub(crate) swallowed: watch::Sender<usize>,
    /// Whether clients hear that the broker has ended their consumers.
    pub(crate) hushed: watch::Receiver<bool>,
}

impl Rules {
    /// Waits while nobody may read.
    async fn may_read(&mut self) {
        // The proxy is gone only when nobody wants to change its way any more.
        let _ = self.way.wait_for(|way| *way != Way::Stalled).await;
    }

    /// Hands bytes on, later, or not at all; `false` when they vanished.
    async fn pass(&mut self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<bool> {
        // Read just before the way was stalled.
        self.may_read().await;
        let way = *self.way.borrow();
        match way {
            Way::Silent => return Ok(false),
            Way::Slow(delay) => tokio::time::sleep(delay).await,
            Way::Open | Way::Stalled => {}
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
        if !rules.pass(&mut to, &buffer[..read]).await? {
            rules.swallowed.send_modify(|bytes| *bytes += read);
        }
    }
}

/// From the broker to a client: whole frames, so that what is injected stands between two of them.
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
        tokio::select! {
            read = from.read_buf(&mut buffer) => if read? == 0 { return Ok(()) },
            Some(frame) = injected.recv() => {
                rules.pass(&mut to, &frame).await?;
                continue;
            }
        }
        let whole = whole_frames(&buffer);
        if whole > 0 {
            let mut frames: Vec<u8> = buffer.drain(..whole).collect();
            if *rules.hushed.borrow() {
                frames = without_cancels(&frames);
            }
            rules.pass(&mut to, &frames).await?;
        }
    }
}

/// Whole frames, but for those by which the broker ends a consumer: class `basic`, method `cancel`.
fn without_cancels(mut frames: &[u8]) -> Vec<u8> {
    const METHOD: u8 = 1;
    let mut rest = Vec::with_capacity(frames.len());
    while let Some([kind, _, _, a, b, c, d]) = frames.first_chunk() {
        let (frame, behind) =
            frames.split_at(7 + u32::from_be_bytes([*a, *b, *c, *d]) as usize + 1);
        if *kind != METHOD || !frame[7..].starts_with(&[0, 60, 0, 30]) {
            rest.extend_from_slice(frame);
        }
        frames = behind;
    }
    rest
}

/// How many of these bytes are whole frames: type, channel, length, so many bytes, an end mark.
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
    fn nothing_is_kept_back_but_cancellations() {
        let frame = |kind: u8, payload: &[u8]| {
            let length = (payload.len() as u32).to_be_bytes();
            [&[kind, 0, 1], &length[..], payload, &[0xCE]].concat()
        };
        let cancel = frame(1, &[0, 60, 0, 30, 0, 1]);
        let others =
            [frame(1, &[0, 60, 0, 31, 0]), frame(3, &[0, 60, 0, 30]), frame(8, &[])].concat();
        assert_eq!(without_cancels(&[&others[..], &cancel, &others].concat()), others.repeat(2));
    }

    #[test]
    fn a_frame_that_is_not_whole_yet_is_left_for_later() {
        let frame = [1, 0, 0, 0, 0, 0, 2, 7, 7, 0xCE];
        let two = [frame, frame].concat();
        for (bytes, whole) in [(0, 0), (6, 0), (9, 0), (10, 10), (19, 10), (20, 20)] {
            assert_eq!(whole_frames(&two[..bytes]), whole, "of {bytes}");
        }
    }
}
