//! Control characters are written as text, so that a logged value neither forges a line nor drives
//! a terminal.

use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// Makes writers that escape control characters.
#[derive(Debug)]
pub(super) struct Escaped<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Escaped<W> {
    type Writer = EscapedWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedWriter(self.0.make_writer())
    }
}

/// Writes one event a call, as the formatter gives it: text with a line feed at its end.
#[derive(Debug)]
pub(super) struct EscapedWriter<W>(W);

impl<W: Write> Write for EscapedWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let (line, end) = match event.split_last() {
            Some((b'\n', line)) => (line, "\n"),
            Some(_) | None => (event, ""),
        };
        let text = String::from_utf8_lossy(line);
        if text.contains(char::is_control) {
            self.0.write_all((escape(&text) + end).as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes control characters as `\u001b`, which is right within a JSON string and plain in text.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() {
            escaped.push_str(&format!("\\u{:04x}", u32::from(char)));
        } else {
            escaped.push(char);
        }
    }
    escaped
}
