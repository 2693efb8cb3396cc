//! Reads the protobuf wire format (Protocol Buffers, "Encoding") in place: no copy, no message tree.
//!
//! What is read is a [`Span`] of the frame that was received. Fields that nobody asks for are
//! skipped by their length and not looked into.

/// A part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// The fields of one message, in the order in which they stand.
#[derive(Debug, Clone)]
pub(super) struct Fields<'f> {
    frame: &'f [u8],
    at: usize,
    end: usize,
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Its number.
    pub(super) number: u32,
    /// Where its content stands; none where it is a number and not text, bytes or a message.
    pub(super) content: Option<Span>,
}

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Span {
    /// The bytes in `frame`.
    pub(super) fn of(self, frame: &[u8]) -> &[u8] {
        let (start, end) = (to_usize(self.start), to_usize(self.end));
        frame.get(start..end).unwrap_or_default()
    }

    /// The text in `frame`; empty where it is none.
    pub(super) fn text(self, frame: &[u8]) -> &str {
        std::str::from_utf8(self.of(frame)).unwrap_or_default()
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The part of it from `from` to `to`, counted from its start.
    pub(super) fn part(self, from: usize, to: usize) -> Self {
        let at = |offset: usize| {
            self.start
                .saturating_add(u32::try_from(offset).unwrap_or(u32::MAX))
                .min(self.end)
        };
        Self {
            start: at(from),
            end: at(to),
        }
    }
}

impl<'f> Fields<'f> {
    /// The fields of the message that is the whole `frame`.
    pub(super) fn of_frame(frame: &'f [u8]) -> Self {
        Self {
            frame,
            at: 0,
            end: frame.len(),
        }
    }

    /// The fields of the message in `span`.
    pub(super) fn of(frame: &'f [u8], span: Span) -> Self {
        Self {
            frame,
            at: to_usize(span.start),
            end: to_usize(span.end).min(frame.len()),
        }
    }

    /// The next field, or none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field>, Malformed> {
        if self.at >= self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| *number != 0)
            .ok_or(Malformed)?;
        let content = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => self.skip(8)?,
            2 => Some(self.delimited()?),
            5 => self.skip(4)?,
            _ => return Err(Malformed),
        };
        Ok(Some(Field { number, content }))
    }

    fn delimited(&mut self) -> Result<Span, Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let start = self.at;
        self.skip(length)?;
        let bound = |at: usize| u32::try_from(at).map_err(|_| Malformed);
        Ok(Span {
            start: bound(start)?,
            end: bound(self.at)?,
        })
    }

    fn skip(&mut self, length: usize) -> Result<Option<Span>, Malformed> {
        let next = self
            .at
            .checked_add(length)
            .filter(|next| *next <= self.end)
            .ok_or(Malformed)?;
        self.at = next;
        Ok(None)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self
                .frame
                .get(self.at)
                .filter(|_| self.at < self.end)
                .ok_or(Malformed)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

fn to_usize(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read<'f> = Vec<(u32, Option<&'f [u8]>)>;

    fn all(frame: &[u8]) -> Result<Read<'_>, Malformed> {
        let mut fields = Fields::of_frame(frame);
        let mut read = Vec::new();
        while let Some(field) = fields.next()? {
            read.push((field.number, field.content.map(|span| span.of(frame))));
        }
        Ok(read)
    }

    #[test]
    fn every_kind_of_field_is_read_or_skipped() {
        let frame = b"\x08\x96\x01\x12\x03abc\x19\0\0\0\0\0\0\0\0\x25\0\0\0\0\x2a\0";
        let read = all(frame).unwrap();
        assert_eq!(
            read,
            [
                (1, None),
                (2, Some(&b"abc"[..])),
                (3, None),
                (4, None),
                (5, Some(&b""[..]))
            ]
        );
    }

    #[test]
    fn what_is_cut_short_or_no_field_is_malformed() {
        for frame in [
            &b"\x08"[..],
            b"\x12\x03ab",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x12\xff\xff\xff\xff\x0f",
            b"\x00\x01",
            b"\x0b",
            b"\x0c",
            b"\x19\0",
            b"\x80",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(all(frame), Err(Malformed), "{frame:x?}");
        }
    }
}
