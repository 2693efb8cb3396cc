//! A body that is small on the wire and large once it is decompressed, made by hand so that no
//! test needs a library that packs.

/// How many bytes [`PATTERN`] stands for: eight matches of the greatest length (RFC 1951 section
/// 3.2.5).
pub(crate) const STRIDE: usize = 8 * 258;

/// Bits of a deflate stream with fixed codes (RFC 1951 section 3.2.6), least significant first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

/// A gzip stream (RFC 1952) of `before`, then 1 + `strides` × [`STRIDE`] times the letter `a`, then
/// `after`, which are ASCII.
pub(crate) fn bomb(before: &str, strides: usize, after: &str) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.plain(1, 1); // the last block
    bits.plain(1, 2); // of fixed codes
    before.bytes().for_each(|byte| bits.literal(byte));
    bits.literal(b'a');
    for _ in 0..strides * 8 {
        bits.code(0b1100_0101, 8); // 258 bytes
        bits.code(0, 5); // from one byte back
    }
    after.bytes().for_each(|byte| bits.literal(byte));
    bits.code(0, 7); // the end of the block
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    stream.extend(bits.bytes);
    let body = before
        .bytes()
        .chain(std::iter::repeat_n(b'a', 1 + strides * STRIDE))
        .chain(after.bytes());
    let (crc, length) = checks(body);
    stream.extend(crc.to_le_bytes());
    stream.extend(length.to_le_bytes());
    stream
}

impl Bits {
    fn push(&mut self, bit: u8) {
        if self.used.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= (bit & 1) << (self.used % 8);
        }
        self.used += 1;
    }

    /// Numbers stand with their lowest bit first.
    fn plain(&mut self, number: u16, width: u32) {
        (0..width).for_each(|place| self.push(u8::from(number >> place & 1 == 1)));
    }

    /// Codes stand with their highest bit first.
    fn code(&mut self, code: u16, width: u32) {
        (0..width)
            .rev()
            .for_each(|place| self.push(u8::from(code >> place & 1 == 1)));
    }

    fn literal(&mut self, ascii: u8) {
        self.code(0b0011_0000 + u16::from(ascii), 8);
    }
}

/// CRC-32 and length, as they end a gzip stream (RFC 1952 section 8).
fn checks(bytes: impl Iterator<Item = u8>) -> (u32, u32) {
    let table: Vec<u32> = (0..256).map(|byte| (0..8).fold(byte, shifted)).collect();
    let mut crc = u32::MAX;
    let mut length = 0_u32;
    for byte in bytes {
        length = length.wrapping_add(1);
        let entry = usize::from(byte ^ crc.to_le_bytes()[0]);
        crc = crc >> 8 ^ table[entry];
    }
    (!crc, length)
}

fn shifted(crc: u32, _: u32) -> u32 {
    crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
}
