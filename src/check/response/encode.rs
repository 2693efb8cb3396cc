//! Writes a `CheckResponse` in the protobuf wire format (Protocol Buffers, "Encoding"), without a
//! message tree in between. Field numbers are those of `envoy/service/auth/v3/external_auth.proto`
//! and of the messages that it uses; every one is below 16, so that a tag is one byte.
//
// INVARIANT: a status of code 0 is written by `allow` alone, together with an `ok_response`.

use crate::check::codec::Outgoing;
use crate::upstream::mutations::Mutations;

/// What an allow says.
#[derive(Debug)]
pub(super) struct Allow<'a> {
    pub mutations: &'a Mutations<'a>,
    /// The header of the answer to the client that tells the decision.
    pub decision: Option<(&'a str, &'a str)>,
    /// The headers of the answer to the client that tell of its limits.
    pub quota: &'a [(&'static str, String)],
}

/// What a refusal says.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    /// Not 0.
    pub grpc_code: i32,
    pub reason: &'a str,
    pub http_status: u16,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

/// `HeaderValueOption.append_action`: `OVERWRITE_IF_EXISTS_OR_ADD`. `append` stays unset, which old
/// Envoys read as "set".
const OVERWRITE: [u8; 2] = [3 << 3, 2];

/// Writes an allow with these entries of the dynamic metadata.
pub(super) fn allow<'a>(
    allow: &Allow<'_>,
    metadata: impl Iterator<Item = (&'static str, &'a str)> + Clone,
) -> Outgoing {
    let mutations = allow.mutations;
    let set = mutations.set_headers();
    let quota = allow
        .quota
        .iter()
        .map(|(name, text)| (*name, text.as_str()));
    let response = mutations.response_headers().chain(allow.decision);
    let response = response.chain(quota);
    let (removed, query) = (mutations.removed_headers(), mutations.removed_query());
    let sizes: [usize; 3] = [
        set.clone().map(header_size).sum(),
        response.clone().map(header_size).sum(),
        removed.clone().chain(query.clone()).map(text_size).sum(),
    ];
    let ok: usize = sizes.into_iter().sum();
    let metadata_size: usize = metadata.clone().map(entry_size).sum();
    let mut outgoing = Outgoing::of_length(2 + block(ok) + block(metadata_size));
    let out = outgoing.end();
    begin(out, 1, 0);
    begin(out, 3, ok);
    set.for_each(|header| put_header(out, 2, header));
    removed.for_each(|name| put_text(out, 5, name));
    response.for_each(|header| put_header(out, 6, header));
    query.for_each(|name| put_text(out, 8, name));
    put_metadata(out, metadata_size, metadata);
    outgoing
}

/// Writes a refusal with these entries of the dynamic metadata.
pub(super) fn refuse<'a>(
    refusal: &Refusal<'_>,
    metadata: impl Iterator<Item = (&'static str, &'a str)> + Clone,
) -> Outgoing {
    let code = u64::from(refusal.grpc_code.unsigned_abs());
    let status = 1 + varint_size(code) + text_size(refusal.reason);
    let http = 1 + varint_size(refusal.http_status.into());
    let headers = refusal.headers.iter().copied();
    let headers_size: usize = headers.clone().map(header_size).sum();
    let body = if refusal.body.is_empty() {
        0
    } else {
        text_size(refusal.body)
    };
    let denied = block(http) + headers_size + body;
    let metadata_size: usize = metadata.clone().map(entry_size).sum();
    let length = block(status) + block(denied) + block(metadata_size);
    let mut outgoing = Outgoing::of_length(length);
    let out = outgoing.end();
    begin(out, 1, status);
    put_number(out, 1, code);
    put_text(out, 2, refusal.reason);
    begin(out, 2, denied);
    begin(out, 1, http);
    put_number(out, 1, refusal.http_status.into());
    headers.for_each(|header| put_header(out, 2, header));
    if body > 0 {
        put_text(out, 3, refusal.body);
    }
    put_metadata(out, metadata_size, metadata);
    outgoing
}

fn put_metadata<'a>(
    out: &mut Vec<u8>,
    size: usize,
    entries: impl Iterator<Item = (&'static str, &'a str)>,
) {
    begin(out, 4, size);
    for (name, value) in entries {
        let text = text_size(value);
        begin(out, 1, text_size(name) + block(text));
        put_text(out, 1, name);
        begin(out, 2, text);
        put_text(out, 3, value);
    }
}

/// An entry of a `Struct`: its name, and a `Value` that is a text.
fn entry_size((name, value): (&str, &str)) -> usize {
    block(text_size(name) + block(text_size(value)))
}

fn put_header(out: &mut Vec<u8>, field: u8, (name, value): (&str, &str)) {
    let header = text_size(name) + text_size(value);
    begin(out, field, block(header) + OVERWRITE.len());
    begin(out, 1, header);
    put_text(out, 1, name);
    put_text(out, 2, value);
    out.extend_from_slice(&OVERWRITE);
}

fn header_size((name, value): (&str, &str)) -> usize {
    block(block(text_size(name) + text_size(value)) + OVERWRITE.len())
}

fn put_text(out: &mut Vec<u8>, field: u8, text: &str) {
    begin(out, field, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn text_size(text: &str) -> usize {
    block(text.len())
}

/// The size of a field of `length` bytes with its tag and length.
fn block(length: usize) -> usize {
    1 + varint_size(to_u64(length)) + length
}

/// Begins a field of `length` bytes.
fn begin(out: &mut Vec<u8>, field: u8, length: usize) {
    out.push(field << 3 | 2);
    put_varint(out, to_u64(length));
}

fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(field << 3);
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn varint_size(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7).try_into().unwrap_or(usize::MAX)
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
