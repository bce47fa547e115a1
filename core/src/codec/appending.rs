//! The buffer that postcard's serializer appends to.

use postcard::ser_flavors::Flavor;

/// Appends to a buffer of the caller.
pub(super) struct Appending<'a>(pub(super) &'a mut Vec<u8>);

impl Appending<'_> {
    /// Appends an integer as postcard does: seven bits in each byte, the lowest first. Most values
    /// consist of integers, and postcard's own code calls `memcpy` for each.
    #[inline]
    pub(super) fn push_varint(&mut self, number: u64) {
        const MORE: u8 = 0x80;
        let mut bytes = [0; 10];
        let mut rest = number;
        let mut len = 0;
        for byte in &mut bytes {
            *byte = rest as u8 | MORE;
            rest >>= 7;
            len += 1;
            if rest == 0 {
                *byte &= !MORE;
                break;
            }
        }
        // Copying ten bytes is faster than copying a number of bytes that varies.
        let end = self.0.len() + len;
        self.0.extend_from_slice(&bytes);
        self.0.truncate(end);
    }
}

impl Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Maps signed integers of small magnitude to small unsigned integers.
#[inline]
pub(super) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}
