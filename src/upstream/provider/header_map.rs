//! Headers that services write as JSON: a map (header services), or a list of names and values
//! (FIWARE's auth-providers). One that holds anything unfit is refused whole.

use std::collections::HashSet;

use serde_json::Value;

use super::answer::CredentialHeader;
use super::life::unverified_life;
use crate::fetch::{FailureKind, FetchError};
use crate::header::HeaderName;
use crate::json;

/// The most headers that a service may give.
const MAX_HEADERS: usize = 32;

/// Reads `{"name": "value", "name": null}`: what is null is removed.
pub(super) fn read_map(body: &[u8]) -> Result<Vec<CredentialHeader>, FetchError> {
    let map = json::parse_object(body)
        .map_err(|_| unusable("the answer is no JSON object that can be read in one way"))?;
    let mut headers = Vec::with_capacity(map.len());
    for (name, value) in map {
        let header = match value {
            Value::String(value) => set(&name, value)?,
            Value::Null => CredentialHeader::removed(parse(&name)?),
            Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                return Err(unusable("a value in the answer is neither a text nor null"));
            }
        };
        headers.push(header);
    }
    checked(headers)
}

/// Headers, and how many entries of the answer say none.
pub(super) struct Listed {
    pub headers: Vec<CredentialHeader>,
    pub skipped: u32,
}

/// Reads `[{"name": "…", "value": "…"}]`; entries without name or value are skipped.
pub(super) fn read_list(body: &[u8]) -> Result<Listed, FetchError> {
    let Ok(Value::Array(entries)) = json::parse(body) else {
        return Err(unusable(
            "the answer is no JSON list that can be read in one way",
        ));
    };
    let mut headers: Vec<CredentialHeader> = Vec::with_capacity(entries.len());
    let mut skipped = 0;
    for entry in entries {
        let text = |member: &str| entry.get(member).and_then(Value::as_str);
        let (Some(name), Some(value)) = (text("name"), text("value")) else {
            skipped += 1;
            continue;
        };
        let header = set(name, value.to_owned())?;
        // in order: what comes later overwrites
        headers.retain(|before| before.name() != header.name());
        headers.push(header);
    }
    Ok(Listed {
        headers: checked(headers)?,
        skipped,
    })
}

/// How long the tokens in `headers` say that they last from `now`: the least of them.
pub(super) fn tokens_life(headers: &[CredentialHeader], now: i64) -> Option<std::time::Duration> {
    let values = headers.iter().filter_map(CredentialHeader::value);
    let tokens = values.map(|value| value.rsplit_once(' ').map_or(value, |(_, token)| token));
    tokens.filter_map(|token| unverified_life(token, now)).min()
}

fn set(name: &str, value: String) -> Result<CredentialHeader, FetchError> {
    let header = CredentialHeader::set(parse(name)?, value);
    header.map_err(|error| unusable(&format!("a header in the answer cannot be set: {error}")))
}

fn parse(name: &str) -> Result<HeaderName, FetchError> {
    HeaderName::parse(name)
        .map_err(|error| unusable(&format!("a header in the answer cannot be set: {error}")))
}

fn checked(headers: Vec<CredentialHeader>) -> Result<Vec<CredentialHeader>, FetchError> {
    if headers.len() > MAX_HEADERS {
        return Err(unusable("the answer has more than 32 headers"));
    }
    let mut seen = HashSet::new();
    for header in &headers {
        if !seen.insert(header.name().as_str().replace('_', "-")) {
            return Err(unusable("a header stands twice in the answer"));
        }
    }
    Ok(headers)
}

fn unusable(why: &str) -> FetchError {
    FetchError::new(FailureKind::Unusable, why)
}

#[cfg(test)]
mod tests {
    use bolero::check;

    use super::*;

    fn told(headers: &[CredentialHeader]) -> Vec<(&str, Option<&str>)> {
        let headers = headers.iter();
        headers
            .map(|header| (header.name().as_str(), header.value()))
            .collect()
    }

    #[test]
    fn h4_null_removes_and_any_other_value_refuses_the_answer() {
        let headers = read_map(br#"{"Authorization":"Bearer x","X-Old":null}"#).unwrap();
        let expected = [("authorization", Some("Bearer x")), ("x-old", None)];
        assert_eq!(told(&headers), expected);
        for value in ["1", "true", "[]", "{}", r#""""#] {
            let body = format!(r#"{{"authorization":"Bearer x","x-a":{value}}}"#);
            assert!(read_map(body.as_bytes()).is_err(), "{value}");
        }
    }

    #[test]
    fn h5_what_is_no_map_of_fit_headers_is_refused() {
        for body in [
            "",
            "[]",
            "\"x\"",
            "1",
            "<html>",
            r#"{"a":"1"} {}"#,
            r#"{"a":"1","a":"2"}"#,
            r#"{"A":"1","a":"2"}"#,
            r#"{"x-a":"1","x_a":"2"}"#,
            r#"{":path":"/x"}"#,
            r#"{"host":"x"}"#,
            r#"{"connection":"x"}"#,
            r#"{"content-length":"1"}"#,
            r#"{"x y":"1"}"#,
            r#"{"x":"a\r\nb: c"}"#,
            r#"{"x":"a\u0000"}"#,
        ] {
            assert!(read_map(body.as_bytes()).is_err(), "{body}");
        }
        assert!(read_map(b"{\"x\":\"\xff\"}").is_err());
        assert!(read_map(b"{}").unwrap().is_empty());
    }

    #[test]
    fn f11_entries_without_name_or_value_are_skipped_and_order_decides() {
        let body = br#"[{"name":"Authorization","value":"a"},{"name":"x"},{"value":"y"},3,
            {"name":1,"value":"z"},{"name":"X-B","value":"b"},{"name":"authorization","value":"c"}]"#;
        let listed = read_list(body).unwrap();
        assert_eq!(listed.skipped, 4);
        let expected = [("x-b", Some("b")), ("authorization", Some("c"))];
        assert_eq!(told(&listed.headers), expected);
        assert!(read_list(b"[]").unwrap().headers.is_empty());
        for body in ["{}", "", "null", "\"x\""] {
            assert!(read_list(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn f13_names_and_values_that_are_unfit_refuse_the_answer() {
        for (name, value) in [
            (":path", "/"),
            ("Host", "x"),
            ("content-length", "1"),
            ("transfer-encoding", "chunked"),
            ("connection", "close"),
            ("a b", "x"),
            ("x", "a\nb"),
            ("x", "a\rb"),
            ("x", "\u{0}"),
        ] {
            let body = serde_json::json!([{ "name": name, "value": value }]).to_string();
            assert!(read_list(body.as_bytes()).is_err(), "{name}: {value:?}");
        }
    }

    #[test]
    fn f19_values_come_through_byte_for_byte() {
        let long = "x".repeat(8 * 1024);
        for value in ["a\"b\\c", "Bearer José", long.as_str()] {
            let body = serde_json::json!([{ "name": "x", "value": value }]).to_string();
            let listed = read_list(body.as_bytes()).unwrap();
            assert_eq!(listed.headers[0].value(), Some(value));
        }
    }

    #[test]
    fn fuzz_random_answers_never_panic_and_never_give_an_unfit_header() {
        check!().for_each(|body: &[u8]| {
            let headers = read_map(body).into_iter().flatten();
            let listed = read_list(body).map(|listed| listed.headers);
            for header in headers.chain(listed.into_iter().flatten()) {
                assert!(HeaderName::parse(header.name().as_str()).is_ok());
                let plain = |char: char| !char.is_control();
                assert!(header.value().is_none_or(|value| value.chars().all(plain)));
            }
        });
    }
}
