//! The ways in which the fake provider misbehaves while it takes connections.

use serde_json::Value;

use super::super::http::Answer;
use super::super::script::Script;
use super::call::Endpoint;
use super::gzip;

/// One megabyte of a body.
const MEGABYTE: usize = 1 << 20;

/// A way to misbehave, at whichever endpoint is asked. `refuse_connections` and `hold` of the
/// provider are two more.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Takes the request and never answers.
    Blackhole,
    /// Gives the honest answer one byte at a time, with a pause after each.
    Drip,
    /// Resets the connection (TCP RST) instead of answering.
    Reset,
    /// Closes the connection instead of answering.
    Close,
    /// Announces the honest body, writes half of it, and resets the connection.
    ResetInBody,
    /// Announces the honest body, writes half of it, and closes the connection.
    CloseInBody,
    /// A good answer but for 100 MB of white space in its body, whose length is announced.
    HugeBody,
    /// The same in chunks, without a length that could be refused.
    HugeChunks,
    /// A good answer of 13 kB in `content-encoding: gzip`, which unpacks to 2 MB.
    GzipBomb,
    /// The login page of some proxy: 200 and HTML.
    Html,
    /// 302 to this address.
    Redirect(String),
    /// 307 to this address, which asks for the same method and body again.
    RedirectSame(String),
    /// 429 with this `Retry-After`: seconds or a date.
    TooManyRequests(String),
    /// A status with the error of RFC 6749 section 5.2.
    OauthError(u16, &'static str),
    /// Any status with any body, said to be JSON.
    Status(u16, String),
    /// 200 and a body in which a byte stands that is no UTF-8, where the token or value is.
    NotUtf8,
    /// 200 and a JSON object, or in an array one, that has a member twice.
    DuplicateKeys,
    /// 200 and JSON of the wrong shape: an array for an object, an object for an array.
    WrongShape,
    /// 200 and no body.
    Empty,
    /// 200 and the honest answer, cut in the middle, with the length of what is left.
    Truncated,
}

impl Fault {
    /// Every fault of transport or form by which no answer can be made out, but for
    /// [`Fault::Blackhole`] and [`Fault::Drip`], which end by the asking side's time-out.
    pub(crate) fn unusable() -> Vec<Self> {
        vec![
            Self::Reset,
            Self::Close,
            Self::ResetInBody,
            Self::CloseInBody,
            Self::HugeBody,
            Self::HugeChunks,
            Self::GzipBomb,
            Self::Html,
            Self::Status(500, "{}".to_owned()),
            Self::Status(200, "null".to_owned()),
            Self::NotUtf8,
            Self::DuplicateKeys,
            Self::WrongShape,
            Self::Empty,
            Self::Truncated,
        ]
    }

    /// What it answers at `endpoint`, where `honest` would be the body.
    pub(crate) fn answer(self, endpoint: &Endpoint, honest: &str) -> Answer {
        let half = honest.get(..honest.len() / 2).unwrap_or_default();
        match self {
            Self::Blackhole => Answer::Silence,
            Self::Drip => Answer::Play(ok(honest.len()).dripped(honest)),
            Self::Reset => Answer::Play(Script::reset()),
            Self::Close => Answer::Play(Script::nothing()),
            Self::ResetInBody => Answer::Play(ok(honest.len()).bytes(half).then_reset()),
            Self::CloseInBody => Answer::Play(ok(honest.len()).bytes(half)),
            Self::HugeBody => Answer::Play(
                ok(100 * MEGABYTE + honest.len())
                    .repeated(vec![b' '; MEGABYTE], 100)
                    .bytes(honest),
            ),
            Self::HugeChunks => Answer::Play(huge_chunks(honest)),
            Self::GzipBomb => Answer::Play(gzip_bomb(endpoint)),
            Self::Html => respond(200, "text/html", "<!doctype html><title>Log in</title>"),
            Self::Redirect(to) => redirect(302, &to),
            Self::RedirectSame(to) => redirect(307, &to),
            Self::TooManyRequests(after) => Answer::Respond {
                status: 429,
                headers: vec![("retry-after".to_owned(), after)],
                body: String::new(),
            },
            Self::OauthError(status, error) => {
                let described = "a description that nobody needs";
                let body = serde_json::json!({ "error": error, "error_description": described });
                Answer::json(status, body.to_string())
            }
            Self::Status(status, body) => Answer::json(status, body),
            Self::NotUtf8 => Answer::Play(not_utf8(endpoint)),
            Self::DuplicateKeys => Answer::json(200, duplicate_keys(endpoint)),
            Self::WrongShape => Answer::json(200, wrong_shape(honest)),
            Self::Empty => Answer::json(200, ""),
            Self::Truncated => Answer::json(200, half),
        }
    }
}

/// The head of a good answer, for a body of this length.
fn ok(length: usize) -> Script {
    let length = length.to_string();
    let json = ("content-type", "application/json");
    Script::head(200, &[json, ("content-length", &length)])
}

fn respond(status: u16, media_type: &str, body: &str) -> Answer {
    Answer::Respond {
        status,
        headers: vec![("content-type".to_owned(), media_type.to_owned())],
        body: body.to_owned(),
    }
}

fn redirect(status: u16, to: &str) -> Answer {
    Answer::Respond {
        status,
        headers: vec![("location".to_owned(), to.to_owned())],
        body: String::new(),
    }
}

fn huge_chunks(honest: &str) -> Script {
    let json = ("content-type", "application/json");
    let mut chunk = format!("{MEGABYTE:x}\r\n").into_bytes();
    chunk.resize(chunk.len() + MEGABYTE, b' ');
    chunk.extend(b"\r\n");
    Script::head(200, &[json, ("transfer-encoding", "chunked")])
        .repeated(chunk, 100)
        .bytes(format!("{:x}\r\n{honest}\r\n0\r\n\r\n", honest.len()))
}

/// What stands before and after the token or value in an answer of `endpoint`.
fn around(endpoint: &Endpoint) -> (&'static str, &'static str) {
    match endpoint {
        Endpoint::Token | Endpoint::Nothing => (
            r#"{"token_type":"Bearer","expires_in":300,"access_token":""#,
            r#""}"#,
        ),
        Endpoint::Introspect => (r#"{"active":true,"sub":""#, r#""}"#),
        Endpoint::Auth { .. } => (r#"[{"name":"authorization","value":""#, r#""}]"#),
        Endpoint::Headers => (r#"{"authorization":""#, r#""}"#),
    }
}

fn gzip_bomb(endpoint: &Endpoint) -> Script {
    let (before, after) = around(endpoint);
    let bytes = gzip::bomb(before, 1_000, after);
    let length = bytes.len().to_string();
    let json = ("content-type", "application/json");
    let gzip = ("content-encoding", "gzip");
    Script::head(200, &[json, gzip, ("content-length", &length)]).bytes(bytes)
}

fn not_utf8(endpoint: &Endpoint) -> Script {
    let (before, after) = around(endpoint);
    let body = [before.as_bytes(), b"a\xffb", after.as_bytes()].concat();
    ok(body.len()).bytes(body)
}

fn duplicate_keys(endpoint: &Endpoint) -> String {
    let (before, after) = around(endpoint);
    let again = match endpoint {
        Endpoint::Token | Endpoint::Nothing => r#"one","access_token":"two"#,
        Endpoint::Introspect => r#"one","sub":"two"#,
        Endpoint::Auth { .. } => r#"one","value":"two"#,
        Endpoint::Headers => r#"one","authorization":"two"#,
    };
    format!("{before}{again}{after}")
}

fn wrong_shape(honest: &str) -> String {
    match serde_json::from_str(honest) {
        Ok(Value::Array(mut array)) => array.pop().unwrap_or_default().to_string(),
        Ok(_) | Err(_) => format!("[{honest}]"),
    }
}
