//! Where things stand in a YAML document: the line of a path, the path of a place, the text of
//! a scalar. Reads events only and builds no values; what cannot be parsed ends the search early.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};

/// The paths of one document, such as `authenticators.partners.credentials[0].header`.
#[derive(Debug, Default)]
pub struct Locator {
    places: Vec<Place>,
    by_path: HashMap<Box<str>, usize>,
}

/// One key of a mapping, or one element of a sequence.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its path.
    pub path: Box<str>,
    /// The line in the document, from 1.
    pub line: u32,
    /// The column in that line, in characters from 1.
    pub column: u32,
    /// Its value, where that is a scalar.
    pub scalar: Option<Scalar>,
}

/// A scalar as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// Its value.
    pub text: String,
    /// Its bytes in the document, quotes included; none where they take several lines.
    pub range: Option<Range<usize>>,
}

/// A mapping or sequence that is open.
struct Open {
    path: String,
    state: OpenState,
}

enum OpenState {
    Key,
    Value(Box<str>),
    Element(usize),
}

impl Place {
    /// Whether it begins exactly there.
    #[must_use]
    pub fn begins_at(&self, line: u32, column: u32) -> bool {
        (self.line, self.column) == (line, column)
    }

    /// The path of the mapping that it is a key of; its own, where it is an element of a list.
    #[must_use]
    pub fn parent(&self) -> &str {
        if self.path.ends_with(']') {
            return &self.path;
        }
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }
}

impl Locator {
    /// The paths of `document`, which is one YAML document.
    #[must_use]
    pub fn new(document: &str) -> Self {
        let mut locator = Self::default();
        walk(document, |place| {
            locator.add(place);
            ControlFlow::Continue(())
        });
        locator
    }

    /// The text of the scalar at `path`, without reading further than there.
    #[must_use]
    pub fn find_scalar(document: &str, path: &str) -> Option<String> {
        let mut found = None;
        walk(document, |place| match place.scalar {
            Some(scalar) if &*place.path == path => {
                found = Some(scalar.text);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        found
    }

    /// The line of `path`, from 1, or of the longest part of it that there is.
    #[must_use]
    pub fn line(&self, path: &str) -> u32 {
        let mut path = path;
        loop {
            if let Some(place) = self.by_path.get(path).and_then(|at| self.places.get(*at)) {
                return place.line;
            }
            match path.rfind(['.', '[']).and_then(|end| path.get(..end)) {
                Some(shorter) => path = shorter,
                None => return self.places.first().map_or(1, |first| first.line),
            }
        }
    }

    /// What stands at `column` of `line`, or begins most closely before it.
    #[must_use]
    pub fn place_at(&self, line: u32, column: u32) -> Option<&Place> {
        let begins_before = |place: &Place| (place.line, place.column) <= (line, column);
        let end = self.places.partition_point(begins_before);
        let before = self.places.get(..end).unwrap_or_default();
        before.last()
    }

    /// Every path, in the order of the document.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The scalar at `path`.
    #[must_use]
    pub fn scalar(&self, path: &str) -> Option<&str> {
        let place = self.places.get(*self.by_path.get(path)?)?;
        place.scalar.as_ref().map(|scalar| &*scalar.text)
    }

    fn add(&mut self, place: Place) {
        self.by_path
            .entry(place.path.clone())
            .or_insert(self.places.len());
        self.places.push(place);
    }
}

/// Visits every place of `document` until `visit` breaks or the document ends or cannot be read.
fn walk(document: &str, mut visit: impl FnMut(Place) -> ControlFlow<()>) {
    let mut open: Vec<Open> = Vec::new();
    // a key waits here for its value, to be visited together with it
    let mut key_at = (1, 1);
    for next in Parser::new_from_str(document) {
        let Ok((event, span)) = next else { return };
        if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
            open.pop();
            continue;
        }
        if matches!(event, Event::DocumentEnd) {
            return;
        }
        if !event.is_node() {
            continue;
        }
        let Some(path) = enter(&mut open, &event, &span, &mut key_at) else {
            continue;
        };
        if !path.is_empty() {
            let is_element =
                matches!(open.last(), Some(open) if matches!(open.state, OpenState::Element(_)));
            let (line, column) = if is_element { start_of(&span) } else { key_at };
            let place = Place {
                path: path.as_str().into(),
                line,
                column,
                scalar: scalar_of(&event, &span),
            };
            if visit(place).is_break() {
                return;
            }
        }
        if matches!(event, Event::MappingStart(..)) {
            let state = OpenState::Key;
            open.push(Open { path, state });
        } else if matches!(event, Event::SequenceStart(..)) {
            let state = OpenState::Element(0);
            open.push(Open { path, state });
        }
    }
}

/// The path of a node, or `None` where it is a key that waits for its value.
fn enter(
    open: &mut [Open],
    event: &Event<'_>,
    span: &Span,
    key_at: &mut (u32, u32),
) -> Option<String> {
    let Some(inner) = open.last_mut() else {
        return Some(String::new());
    };
    match &mut inner.state {
        OpenState::Element(next) => {
            let at = *next;
            *next += 1;
            Some(format!("{}[{at}]", inner.path))
        }
        OpenState::Value(key) => {
            let path = if inner.path.is_empty() {
                key.to_string()
            } else {
                format!("{}.{key}", inner.path)
            };
            inner.state = OpenState::Key;
            Some(path)
        }
        OpenState::Key => {
            *key_at = start_of(span);
            if let Event::Scalar(text, ..) = event {
                inner.state = OpenState::Value(text.as_ref().into());
                return None;
            }
            inner.state = OpenState::Value("?".into());
            // a key that is a mapping or a list: what stands in it is of no interest
            matches!(event, Event::MappingStart(..) | Event::SequenceStart(..))
                .then(|| format!("{}?", inner.path))
        }
    }
}

fn scalar_of(event: &Event<'_>, span: &Span) -> Option<Scalar> {
    let Event::Scalar(text, style, ..) = event else {
        return None;
    };
    let one_line = span.start.line() == span.end.line()
        && matches!(
            style,
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted
        );
    Some(Scalar {
        text: text.to_string(),
        range: span
            .byte_range()
            .filter(|range| one_line && !range.is_empty()),
    })
}

/// Line and column, from 1.
fn start_of(span: &Span) -> (u32, u32) {
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    (
        number(span.start.line()),
        number(span.start.col()).saturating_add(1),
    )
}

#[cfg(test)]
mod tests;
