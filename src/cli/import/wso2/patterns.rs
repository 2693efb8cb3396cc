//! The patterns of an HTTPAPISpec as operations. What cannot be one is denied, or the whole is refused.

use serde_json::Value;

use crate::catalog::build::path::template;
use crate::cli::import::document::{Node, text, texts};
use crate::cli::import::overlap::Overlap;
use crate::cli::import::report::Report;
use crate::cli::import::wso2::apis::attribute;
use crate::cli::import::wso2::objects::Object;
use crate::problem::Problems;

const SCOPE: &str = "resource.scope";

/// A pattern that is an operation of ours.
struct Kept {
    method: Option<String>,
    path: String,
    scope: Option<String>,
}

impl Kept {
    fn node(self) -> Node {
        let mut keys = Vec::new();
        if let Some(method) = self.method {
            keys.push(("methods", texts([method])));
        }
        keys.push(("path", text(self.path)));
        if let Some(scope) = self.scope {
            keys.push(("scopes", Node::Map(vec![("anyOf", texts([scope]))])));
        }
        Node::Map(keys)
    }
}

/// A pattern that is none.
struct LeftOut {
    at: usize,
    method: Option<String>,
    /// Its path as it was written; none where it is told by something else, so that it may be any.
    path: Option<String>,
}

impl LeftOut {
    /// Whether its requests would be judged as `kept`.
    fn is_judged_as(&self, kept: &Kept) -> bool {
        let is_for = match (&self.method, &kept.method) {
            (Some(own), Some(kept)) => own == kept,
            (_, _) => true,
        };
        let overlap = |path: &String| Overlap::of(&kept.path, path);
        is_for
            && match &self.path {
                Some(path) => overlap(path).is_some_and(|overlap| overlap.judges()),
                None => true,
            }
    }
}

/// The operations of a spec; none where it has no patterns at all, so that it means every request.
///
/// # Errors
/// What was left out and would be judged as something else, or as everything.
pub(super) fn operations(
    spec: &Object,
    report: &mut Report,
) -> Result<Option<Vec<Node>>, Problems> {
    let of_all = scope(spec, "spec.attributes", spec.at("/spec/attributes"))?;
    match spec.at("/spec/patterns") {
        Some(Value::Array(list)) if !list.is_empty() => {}
        Some(Value::Array(_) | Value::Null) | None if of_all.is_none() => return Ok(None),
        Some(Value::Array(_) | Value::Null) | None => {
            let reason = "it has a scope and no patterns: add one, such as `uriTemplate: /*`";
            return Err(spec.problem("spec.attributes", reason));
        }
        Some(_) => return Err(spec.problem("spec.patterns", "it is no list")),
    }
    let (mut kept, mut denied) = (Vec::new(), Vec::new());
    for (at, pattern) in spec.list("/spec/patterns").iter().enumerate() {
        match pattern_of(spec, (at, pattern), of_all.as_ref(), report)? {
            Ok(one) => kept.push(one),
            Err(one) => denied.push(one),
        }
    }
    if kept.is_empty() {
        let reason = "none of its patterns can be carried over";
        return Err(spec.problem("spec.patterns", reason));
    }
    refuse_wider(spec, &denied, &kept)?;
    Ok(Some(kept.into_iter().map(Kept::node).collect()))
}

/// A pattern; one that is no operation is told.
fn pattern_of(
    spec: &Object,
    (at, pattern): (usize, &Value),
    of_all: Option<&String>,
    report: &mut Report,
) -> Result<Result<Kept, LeftOut>, Problems> {
    let place = format!("HTTPAPISpec `{}`: patterns[{at}]", spec.name());
    let method = part(pattern, ["httpMethod", "http_method"]).map(str::to_ascii_uppercase);
    let Some(path) = path_of(pattern) else {
        report.left_out(format!("{place}: it has no uriTemplate"));
        let path = None;
        return Ok(Err(LeftOut { at, method, path }));
    };
    let ours = our_template(&path);
    if let Err(reason) = template(&ours) {
        report.left_out(format!("{place}: `{path}`: {reason}; it will be denied"));
        let path = Some(ours);
        return Ok(Err(LeftOut { at, method, path }));
    }
    if ours != path {
        report.changed(format!("{place}: `{path}` is `{ours}`"));
    }
    let of_pattern = pattern.get("attributes");
    let own = scope(spec, &format!("spec.patterns[{at}]"), of_pattern)?;
    Ok(Ok(Kept {
        method,
        path: ours,
        scope: own.or_else(|| of_all.cloned()),
    }))
}

/// A text of a pattern, by either of two names.
fn part<'a>(pattern: &'a Value, names: [&str; 2]) -> Option<&'a str> {
    let value = names.into_iter().find_map(|name| pattern.get(name));
    value.and_then(Value::as_str)
}

/// The path of a pattern, as it was written; none where it is told by something else.
fn path_of(pattern: &Value) -> Option<String> {
    let own = attribute(pattern.get("attributes"), "api.operation");
    let path = part(pattern, ["uriTemplate", "uri_template"]).map(str::to_owned);
    path.or(own).filter(|_| pattern.get("regex").is_none())
}

/// Whether requests that `left_out` means would be judged by what `spec` says, where both have one host.
pub(super) fn takes(spec: &Object, left_out: &Object) -> bool {
    let paths = |of: &Object| -> Vec<Option<String>> {
        let all = of.list("/spec/patterns").iter();
        all.map(|one| path_of(one).as_deref().map(our_template))
            .collect()
    };
    let (ours, theirs) = (paths(spec), paths(left_out));
    let judges = |(ours, theirs): (&Option<String>, &Option<String>)| match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            Overlap::of(ours, theirs).is_some_and(|overlap| overlap.judges())
        }
        (None, _) => false,
        (Some(_), None) => true,
    };
    let mut pairs = ours
        .iter()
        .flat_map(|ours| theirs.iter().map(move |theirs| (ours, theirs)));
    ours.is_empty() || theirs.is_empty() || pairs.any(judges)
}

/// The scope among `attributes`.
fn scope(
    spec: &Object,
    place: &str,
    attributes: Option<&Value>,
) -> Result<Option<String>, Problems> {
    let list = attributes.and_then(|all| all.get("attributes").or(Some(all)));
    let Some(value) = list.and_then(|list| list.get(SCOPE)) else {
        return Ok(None);
    };
    let said = ["stringValue", "string_value"]
        .into_iter()
        .find_map(|key| value.get(key)?.as_str());
    if said.is_none() {
        let reason = format!("{SCOPE} must have a text: `{SCOPE}: {{ stringValue: … }}`");
        return Err(spec.problem(place, reason));
    }
    Ok(attribute(attributes, SCOPE))
}

/// Refuses what was left out where another pattern would be judged in its place.
fn refuse_wider(spec: &Object, denied: &[LeftOut], kept: &[Kept]) -> Result<(), Problems> {
    let mut problems = Problems::new();
    for one in denied {
        if let Some(kept) = kept.iter().find(|kept| one.is_judged_as(kept)) {
            let place = format!("spec.patterns[{}]", one.at);
            let message = format!(
                "it cannot be carried over, and its requests would be judged as those of `{}`: write it as a uriTemplate of whole segments, or take it out",
                kept.path
            );
            problems.extend(spec.problem(&place, message));
        }
    }
    problems.into_result(())
}

/// A final `/*` as we write it.
fn our_template(path: &str) -> String {
    let path = path.trim_matches('"');
    match path.strip_suffix("/*") {
        Some(before) => format!("{before}/{{*rest}}"),
        None => path.to_owned(),
    }
}
