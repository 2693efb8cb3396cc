use super::*;

const NOW: i64 = 1_000_000;

fn answer(status: u16, body: &str) -> HttpAnswer {
    HttpAnswer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Secret::new(body.as_bytes().to_vec()),
    }
}

fn read(body: &str) -> Result<Token, FetchError> {
    Token::read(&answer(200, body), NOW)
}

fn lasts(body: &str) -> Option<u64> {
    read(body)
        .unwrap_or_else(|error| panic!("{body}: {error}"))
        .lasts
        .map(|lasts| lasts.as_secs())
}

fn jwt(expires: i64) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{expires}}}"#));
    format!("e30.{claims}.c2ln")
}

#[test]
fn f25_a_token_lasts_as_long_as_the_least_of_what_is_said() {
    assert_eq!(lasts(r#"{"access_token":"t","expires_in":60}"#), Some(60));
    assert_eq!(lasts(r#"{"access_token":"t","expires_in":"60"}"#), Some(60));
    assert_eq!(lasts(r#"{"access_token":"t","token_type":"bearer"}"#), None);
    let long = format!(r#"{{"access_token":"{}","expires_in":60}}"#, jwt(NOW + 600));
    assert_eq!(lasts(&long), Some(60));
    let short = format!(r#"{{"access_token":"{}","expires_in":600}}"#, jwt(NOW + 60));
    assert_eq!(lasts(&short), Some(60));
    let alone = format!(r#"{{"access_token":"{}"}}"#, jwt(NOW + 60));
    assert_eq!(lasts(&alone), Some(60));
    assert_eq!(
        lasts(r#"{"access_token":"t","expires_in":1e30}"#),
        Some(31_536_000)
    );
}

#[test]
fn what_is_no_usable_token_is_refused_and_not_told() {
    for body in [
        "",
        "[]",
        "<html>",
        r#"{"token":"t"}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"canary\r\nx: y"}"#,
        r#"{"access_token":"canary canary"}"#,
        r#"{"access_token":"canary","expires_in":0}"#,
        r#"{"access_token":"canary","expires_in":-1}"#,
        r#"{"access_token":"canary","expires_in":true}"#,
        r#"{"access_token":"canary","expires_in":"soon"}"#,
        r#"{"access_token":"canary","token_type":"mac"}"#,
        r#"{"access_token":"canary","access_token":"other"}"#,
    ] {
        let error = read(body).map(|_| ()).unwrap_err();
        assert_eq!(error.kind, FailureKind::Unusable, "{body}");
        assert!(!error.message.contains("canary"), "{error}");
    }
    let over = format!(r#"{{"access_token":"{}","expires_in":60}}"#, jwt(NOW - 1));
    assert_eq!(
        read(&over).map(|_| ()).unwrap_err().kind,
        FailureKind::Unusable
    );
}

#[test]
fn f26_the_code_of_an_oauth_error_is_told_and_nothing_else_of_it() {
    let error = |status, body: &str| failure(&answer(status, body), NOW);
    let refused = error(
        400,
        r#"{"error":"invalid_client","error_description":"canary"}"#,
    );
    assert_eq!(refused.kind, FailureKind::Refused);
    assert!(refused.message.contains("invalid_client") && !refused.message.contains("canary"));
    for body in [
        r#"{"error":"Canary <b>"}"#,
        "canary",
        r#"{"error":{"a":"canary"}}"#,
    ] {
        assert!(
            !error(401, body).message.to_lowercase().contains("canary"),
            "{body}"
        );
    }
    for status in [500, 503, 429, 408] {
        assert_eq!(error(status, "").kind, FailureKind::Unavailable, "{status}");
    }
    let said = read(r#"{"error":"invalid_grant"}"#)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(said.kind, FailureKind::Refused);
    assert!(said.message.contains("invalid_grant"));
}

#[test]
fn retry_after_is_seconds_or_a_date_and_bounded() {
    let wait = |text: &str| {
        let mut answer = answer(429, "");
        answer.headers.insert(RETRY_AFTER, text.parse().unwrap());
        failure(&answer, 784_111_777 - 10).retry_after
    };
    assert_eq!(wait("7"), Some(Duration::from_secs(7)));
    assert_eq!(wait("86400"), Some(LONGEST_RETRY_AFTER));
    assert_eq!(
        wait("Sun, 06 Nov 1994 08:49:37 GMT"),
        Some(Duration::from_secs(10))
    );
    assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), None);
    assert_eq!(wait("soon"), None);
}
