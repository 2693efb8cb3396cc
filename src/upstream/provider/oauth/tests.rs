use super::*;

#[test]
fn id_and_secret_are_encoded_before_they_are_joined() {
    let value = basic("a:b c", "p%+é").unwrap();
    let text = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
    let decoded = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
    assert_eq!(decoded, "a%3Ab+c:p%25%2B%C3%A9");
    assert!(value.is_sensitive());
}

#[test]
fn a_token_is_put_where_the_api_says() {
    let target = Target {
        header: Some(HeaderName::parse("x-token").unwrap()),
        ..Target::default()
    };
    let header = token_header(&target, "t").unwrap();
    assert_eq!(
        (header.name().as_str(), header.value()),
        ("x-token", Some("t"))
    );
    let target = Target {
        scheme: Some("Bearer".into()),
        ..target
    };
    assert_eq!(
        token_header(&target, "t").unwrap().value(),
        Some("Bearer t")
    );
}
