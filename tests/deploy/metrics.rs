//! What alerts and the dashboard ask Prometheus for exists.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::objects::{document, read};

/// The rows of docs/METRICS.md: each metric, its kind and its labels.
fn metrics() -> Vec<(String, String, BTreeSet<String>)> {
    let text = read("docs/METRICS.md");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<_> = rows
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let labels = cells[3]
                .split(',')
                .map(|label| label.trim().trim_matches('`'));
            let labels = labels.filter(|label| *label != "–").map(str::to_owned);
            (
                cells[1].trim_matches('`').to_owned(),
                cells[2].to_owned(),
                labels.collect(),
            )
        })
        .collect();
    assert!(rows.len() > 20, "{rows:?}");
    rows
}

/// The names of ours in an expression, with the labels that stand in braces after each.
fn names(expression: &str) -> Vec<(String, Vec<String>)> {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = Vec::new();
    for (at, _) in expression
        .match_indices("portcullis_")
        .chain(expression.match_indices("process_"))
    {
        let rest = &expression[at..];
        let end = rest.find(|char| !word(char)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let inside = after
            .strip_prefix('{')
            .and_then(|after| after.split('}').next());
        let labels = inside.unwrap_or_default().split(',').filter_map(|one| {
            let label = one.split(['=', '!']).next()?.trim();
            (!label.is_empty()).then(|| label.to_owned())
        });
        found.push((name.to_owned(), labels.collect()));
    }
    found
}

/// Every expression below a value: texts under the key `expr`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let expression = value.as_str().filter(|_| key == "expr");
                found.extend(expression.map(str::to_owned));
                expressions(value, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What is wrong with an expression.
fn wrong_with(expression: &str, metrics: &[(String, String, BTreeSet<String>)]) -> Option<String> {
    let of_prometheus = ["namespace", "pod", "le"];
    let found = names(expression);
    if found.is_empty() {
        return Some("it names no metric".to_owned());
    }
    for (name, labels) in found {
        let is_it = |(own, kind, _): &&(String, String, _)| {
            let parts = ["_bucket", "_sum", "_count"];
            let part = parts.iter().any(|part| name == format!("{own}{part}"));
            if kind == "histogram" {
                part
            } else {
                name == *own
            }
        };
        let Some((_, _, known)) = metrics.iter().find(is_it) else {
            return Some(format!("no metric is called {name}"));
        };
        let unknown = labels
            .iter()
            .find(|label| !known.contains(*label) && !of_prometheus.contains(&label.as_str()));
        if let Some(label) = unknown {
            return Some(format!("{name} has no label {label}"));
        }
    }
    None
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_exist() {
    let metrics = metrics();
    for file in [
        "deploy/alerts/portcullis.yaml",
        "deploy/grafana/portcullis.json",
    ] {
        let mut all = Vec::new();
        expressions(&document(file), &mut all);
        assert!(all.len() > 10, "{file}");
        for expression in all {
            let wrong = wrong_with(&expression, &metrics);
            assert_eq!(wrong, None, "{file}: {expression}");
        }
    }
}

#[test]
fn what_does_not_exist_is_found() {
    let metrics = metrics();
    for (expression, wrong) in [
        (
            "sum(rate(portcullis_cheks_total[5m]))",
            "no metric is called portcullis_cheks_total",
        ),
        (
            "portcullis_checks_total{app=\"x\"}",
            "portcullis_checks_total has no label app",
        ),
        (
            "portcullis_check_duration_seconds > 1",
            "no metric is called portcullis_check_duration_seconds",
        ),
        ("up == 0", "it names no metric"),
    ] {
        assert_eq!(wrong_with(expression, &metrics).as_deref(), Some(wrong));
    }
}

#[test]
fn alerts_say_what_is_wrong_and_how_bad_it_is() {
    let alerts = document("deploy/alerts/portcullis.yaml");
    let rules = alerts
        .pointer("/spec/groups/0/rules")
        .and_then(Value::as_array);
    let mut seen = BTreeSet::new();
    for rule in rules.expect("a list of rules") {
        let name = rule["alert"].as_str().expect("a name");
        assert!(seen.insert(name), "{name} is there twice");
        assert!(rule["annotations"]["summary"].is_string(), "{name}");
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("critical" | "warning")), "{name}");
    }
}
