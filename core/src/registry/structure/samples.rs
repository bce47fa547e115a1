//! Made-up scalars. The first of each kind is tried first, the others if a type rejects it.

pub(super) const INTEGERS: [u8; 8] = [1, 0, 2, 4, 10, 12, 64, 100];
pub(super) const FLOATS: [f32; 4] = [1.0, 0.0, 0.5, 100.0];
pub(super) const BOOLS: [bool; 2] = [true, false];
pub(super) const CHARS: [char; 4] = ['a', '1', 'A', ' '];
pub(super) const BYTES: [&[u8]; 10] =
    [&[1], &[1; 16], &[], &[1; 4], &[1; 8], &[1; 20], &[1; 32], &[1; 64], &[1; 12], &[1; 33]];
pub(super) const STRINGS: [&str; 31] = [
    "a",
    "1",
    "2000-01-01",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00",
    "00:00:00",
    "2000-01-01 00:00:00",
    "http://a.aa/",
    "127.0.0.1",
    "::1",
    "127.0.0.1:1",
    "10.0.0.0/8",
    "00000000-0000-4000-8000-000000000001",
    "1.0.0",
    "a@a.aa",
    "A",
    "USD",
    "UTC",
    "en",
    "Mon",
    "January",
    "+00:00",
    "/",
    "",
    "#000000",
    "1s",
    "P1D",
    "true",
    "AAAA",
    "0x00",
    "a/a",
];
