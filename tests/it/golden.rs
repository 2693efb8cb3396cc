//! The exact form of one allow and one denial, and of the table of reasons.

use prost::Message as _;

use crate::gate::{Gate, SHOP_KEY, get_order};

/// The answer as text, with the parts that change from run to run replaced.
fn stable(response: &envoy_types::pb::envoy::service::auth::v3::CheckResponse) -> String {
    let json = portcullis::descriptor::check_response_to_json(&response.encode_to_vec()).unwrap();
    let decision_id = crate::gate::metadata(response, "decision_id").unwrap();
    format!("{json:#}\n").replace(&decision_id, "<decision id>")
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/golden")
        .join(name);
    #[expect(clippy::disallowed_methods, reason = "a test reads its own switch")]
    if std::env::var("UPDATE_GOLDEN").is_ok() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text,
        expected,
        "differs from {}; UPDATE_GOLDEN=1 writes it",
        path.display()
    );
}

#[tokio::test]
async fn an_allow_has_this_form() {
    let gate = Gate::start();
    golden(
        "allow.json",
        &stable(&gate.ask(get_order().header("x-api-key", SHOP_KEY)).await),
    );
}

#[tokio::test]
async fn a_denial_has_this_form() {
    let gate = Gate::start();
    golden("deny.json", &stable(&gate.ask(get_order()).await));
}

#[test]
fn the_table_of_reasons_is_this() {
    use portcullis::check::decision::{FaultReason, Reason};
    let rows = Reason::ALL
        .into_iter()
        .map(Reason::row)
        .chain(FaultReason::ALL.into_iter().map(FaultReason::row));
    let table = rows.map(|row| {
        format!(
            "{} {} {:?} {:?} {} | {}\n",
            row.name, row.http, row.grpc, row.challenge_error, row.code, row.title
        )
    });
    golden("reasons.txt", &table.collect::<String>());
}
