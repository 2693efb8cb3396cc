//! Base paths and path templates: only what a request can match.

use crate::catalog::model::{BasePath, PathTemplate, TemplateSegment};
use crate::check::request::NormalPath;

/// Reads a base path.
pub(crate) fn base_path(text: &str) -> Result<BasePath, String> {
    if text == "/" {
        return Ok(BasePath("".into()));
    }
    if text.ends_with('/') {
        return Err("leave the final slash out".to_owned());
    }
    if text.contains(['{', '}', '*']) {
        return Err("a base path is fixed text; templates belong to operations".to_owned());
    }
    literal(text).map(BasePath)
}

/// Reads the path template of an operation.
pub(crate) fn template(text: &str) -> Result<PathTemplate, String> {
    let Some(below) = text.strip_prefix('/') else {
        return Err("it must begin with a slash".to_owned());
    };
    let mut segments = Vec::new();
    if !below.is_empty() {
        let mut rest = below.split('/').peekable();
        while let Some(part) = rest.next() {
            let is_last = rest.peek().is_none();
            segments.push(segment(part, is_last)?);
        }
    }
    Ok(PathTemplate {
        text: text.into(),
        segments,
    })
}

/// What `template` has in common with those that match the same paths.
pub(super) fn shape(template: &PathTemplate) -> String {
    let mut shape = String::with_capacity(template.text.len());
    for segment in &template.segments {
        shape.push('/');
        shape.push_str(match segment {
            TemplateSegment::Literal(text) => text,
            TemplateSegment::Parameter => "{}",
            TemplateSegment::Rest => "{*}",
        });
    }
    shape
}

fn segment(part: &str, is_last: bool) -> Result<TemplateSegment, String> {
    if let Some(name) = part
        .strip_prefix('{')
        .and_then(|part| part.strip_suffix('}'))
    {
        let (name, is_rest) = match name.strip_prefix('*') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        return match (is_name, is_rest) {
            (false, _) => Err(format!(
                "`{part}` needs a name of letters, digits, `_` and `-`: {{id}} or {{*rest}}"
            )),
            (true, true) if !is_last => Err(format!("`{part}` can only stand at the end")),
            (true, true) => Ok(TemplateSegment::Rest),
            (true, false) => Ok(TemplateSegment::Parameter),
        };
    }
    if part.contains(['{', '}']) {
        return Err(format!(
            "`{part}` mixes text and braces; a parameter is a whole segment"
        ));
    }
    if matches!(part, "*" | "**") {
        return Err(format!(
            "`{part}` stands for nothing; write {{name}} for one segment or {{*rest}} for all that follow"
        ));
    }
    if part.is_empty() {
        return if is_last {
            Ok(TemplateSegment::Literal("".into()))
        } else {
            Err(
                "an empty segment never matches: requests have their double slashes merged"
                    .to_owned(),
            )
        };
    }
    let normal = literal(&format!("/{part}"))?;
    Ok(TemplateSegment::Literal(
        normal.strip_prefix('/').unwrap_or(&normal).into(),
    ))
}

/// Fixed text in the form that requests arrive in.
fn literal(text: &str) -> Result<Box<str>, String> {
    let normal = NormalPath::parse(text)
        .map_err(|reason| format!("`{text}` never matches, such requests are denied: {reason}"))?;
    if text.contains(';') {
        return Err(format!(
            "`{text}` never matches, requests whose parameters (`;`) decide are denied"
        ));
    }
    // only the case of the digits of an escape may differ
    if normal.as_str().len() != text.len() {
        return Err(format!(
            "`{text}` never matches, such requests arrive as `{}`: write that",
            normal.as_str()
        ));
    }
    Ok(normal.as_str().into())
}
