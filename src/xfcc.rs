//! `x-forwarded-client-cert`: what proxies say about the client certificates that they saw, one
//! element for each hop, the nearest last (Envoy, "HTTP header manipulation").
//!
//! Only the form is read here. Whether whoever wrote it may be believed is for those who ask.
//
// INVARIANT: what can be read in two ways is not read at all. Envoy writes the URI of a certificate
// without quotes: one that holds `;URI=` makes an element with two, which names nobody.

use std::borrow::Cow;

/// The name of the header, in lower case.
pub const HEADER: &str = "x-forwarded-client-cert";
/// The longest value that is read.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most hops that are read.
pub const MAX_ELEMENTS: usize = 16;

/// What one proxy says about its client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element<'a> {
    /// The URI of the proxy's own certificate; the first, where it has several.
    pub by: Option<Cow<'a, str>>,
    /// The one URI of the client's certificate; none for an empty one.
    pub uri: Option<Cow<'a, str>>,
    /// The DNS names of the client's certificate.
    pub dns: Vec<Cow<'a, str>>,
    /// The SHA-256 of the client's certificate, in hexadecimal.
    pub hash: Option<Cow<'a, str>>,
    /// The subject of the client's certificate (RFC 2253), as the quotes hold it: backslashes are
    /// those of the subject's own form.
    pub subject: Option<&'a str>,
    /// The client's certificate in PEM, percent-encoded.
    pub cert: Option<Cow<'a, str>>,
}

/// A text that is no such header, or more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// Every element of `value`, the nearest hop last.
///
/// # Errors
/// Where it cannot be read in one way only, or is larger than any honest one.
pub fn parse(value: &str) -> Result<Vec<Element<'_>>, Malformed> {
    let mut elements = Vec::with_capacity(2);
    let mut reader = Reader::new(value)?;
    while let Some(element) = reader.next()? {
        elements.push(element);
    }
    Ok(elements)
}

/// The last element of `value`, that of the nearest hop. All the others are read too.
///
/// # Errors
/// As for [`parse`].
pub fn last(value: &str) -> Result<Element<'_>, Malformed> {
    let mut reader = Reader::new(value)?;
    let mut last = None;
    while let Some(element) = reader.next()? {
        last = Some(element);
    }
    last.ok_or(Malformed("it is empty"))
}

/// What is left to read.
struct Reader<'a> {
    rest: Option<&'a str>,
    count: usize,
}

/// A value, and what ended it.
struct Value<'a> {
    text: &'a str,
    is_quoted: bool,
    end: End,
}

/// What stands behind a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Pair,
    Element,
    Header,
}

impl<'a> Reader<'a> {
    fn new(value: &'a str) -> Result<Self, Malformed> {
        if value.len() > MAX_BYTES {
            return Err(Malformed("it has more than 64 KiB"));
        }
        Ok(Self {
            rest: Some(value),
            count: 0,
        })
    }

    fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        let Some(mut rest) = self.rest.take() else {
            return Ok(None);
        };
        self.count += 1;
        if self.count > MAX_ELEMENTS {
            return Err(Malformed("it has more than 16 elements"));
        }
        let (mut element, mut uri) = (Element::default(), None);
        loop {
            let (name, behind) = rest
                .split_once('=')
                .ok_or(Malformed("a pair without a name or value"))?;
            let (value, behind) = Value::read(behind)?;
            element.take(name.trim_matches(BLANK), &value, &mut uri)?;
            match value.end {
                End::Pair => rest = behind,
                End::Element => {
                    self.rest = Some(behind);
                    break;
                }
                End::Header => break,
            }
        }
        element.uri = uri.filter(|uri| !uri.is_empty());
        Ok(Some(element))
    }
}

/// What may stand around names and unquoted values (RFC 9110 section 5.6.3).
const BLANK: [char; 2] = [' ', '\t'];

impl<'a> Value<'a> {
    /// The value at the start of `text`, and what stands behind its end.
    fn read(text: &'a str) -> Result<(Self, &'a str), Malformed> {
        let text = text.trim_start_matches(BLANK);
        let (value, is_quoted, behind) = match text.strip_prefix('"') {
            Some(quoted) => {
                let end = closing_quote(quoted).ok_or(Malformed("a quote that does not end"))?;
                let (value, behind) = quoted.split_at(end);
                (value, true, behind.get(1..).unwrap_or_default())
            }
            None => {
                let end = text.find([';', ',', '"', '\\']).unwrap_or(text.len());
                let (value, behind) = text.split_at(end);
                (value.trim_end_matches(BLANK), false, behind)
            }
        };
        let behind = behind.trim_start_matches(BLANK);
        let (end, behind) = if let Some(behind) = behind.strip_prefix(';') {
            (End::Pair, behind)
        } else if let Some(behind) = behind.strip_prefix(',') {
            (End::Element, behind)
        } else if behind.is_empty() {
            (End::Header, behind)
        } else {
            // some read a backslash outside of quotes as an escape: what is quoted would differ
            return Err(Malformed("a quote or backslash where none may stand"));
        };
        let value = Self {
            text: value,
            is_quoted,
            end,
        };
        Ok((value, behind))
    }

    /// The value without its escapes.
    fn unescaped(&self) -> Cow<'a, str> {
        if !self.is_quoted || !self.text.contains('\\') {
            return Cow::Borrowed(self.text);
        }
        let mut text = String::with_capacity(self.text.len());
        let mut characters = self.text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => text.extend(characters.next()),
                other => text.push(other),
            }
        }
        Cow::Owned(text)
    }
}

/// Where the quote ends that `text` is in.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| match byte {
        _ if escaped => {
            escaped = false;
            false
        }
        b'\\' => {
            escaped = true;
            false
        }
        other => other == b'"',
    })
}

impl<'a> Element<'a> {
    /// Takes the pair of `name` and `value`; `uri` is what stood as URI before, empty or not.
    fn take(
        &mut self,
        name: &str,
        value: &Value<'a>,
        uri: &mut Option<Cow<'a, str>>,
    ) -> Result<(), Malformed> {
        let is = |key: &str| name.eq_ignore_ascii_case(key);
        let twice = Err(Malformed("a key that stands twice in one element"));
        if is("uri") {
            let next = value.unescaped();
            if uri.as_ref().is_some_and(|before| *before != next) {
                return Err(Malformed("an element with two different URIs"));
            }
            *uri = Some(next);
        } else if is("dns") {
            self.dns.push(value.unescaped());
        } else if is("by") {
            self.by.get_or_insert_with(|| value.unescaped());
        } else if is("hash") {
            if self.hash.replace(value.unescaped()).is_some() {
                return twice;
            }
        } else if is("subject") {
            if self.subject.replace(value.text).is_some() {
                return twice;
            }
        } else if is("cert") {
            if self.cert.replace(value.unescaped()).is_some() {
                return twice;
            }
        } else if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Malformed("a pair without a name or value"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
