//! Whether what is meant for one path would be judged as something else: what was left out as what was kept,
//! what is closed as what is open.

use crate::check::request::NormalPath;

/// How a path that was kept lies to another one, where one request can be for both.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overlap {
    wider: bool,
    narrower: bool,
    /// Whether it has the literal where they first differ, so that a request for both is its.
    goes_first: bool,
}

impl Overlap {
    /// How `kept`, a template of ours, lies to `path`, which need not be one; none where no request is for
    /// both.
    pub(super) fn of(kept: &str, path: &str) -> Option<Self> {
        let path = arriving(path);
        let (mut ours, mut theirs) = (kept.split('/'), path.split('/').peekable());
        let mut found = Self::default();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Some(found),
                (Some(_), Some(theirs_now)) if is_rest(theirs_now) && theirs.peek().is_some() => {
                    // it stands for nothing of ours, so that it may mean anything
                    found.wider = true;
                    return Some(found);
                }
                (Some(ours), Some(theirs)) if ours.starts_with("{*") => {
                    // a rest is never empty
                    let is_same = is_rest(theirs);
                    found.wider |= !is_same;
                    return Some(found).filter(|_| !theirs.is_empty());
                }
                (Some(_), Some(theirs)) if is_rest(theirs) => {
                    found.is_narrower_here();
                    return Some(found);
                }
                (Some(ours), Some(theirs)) => found.take(ours, theirs)?,
                (_, _) => return None,
            }
        }
    }

    /// Whether requests for the other path are judged as this one: it is wider somewhere, or the same by
    /// another name. Where it is only narrower, they are its own.
    pub(super) const fn judges(&self) -> bool {
        self.wider || !self.narrower
    }

    /// Whether it has a parameter where the other path has text.
    pub(super) const fn is_wider(&self) -> bool {
        self.wider
    }

    /// Whether the router asks the other path first, where both are in one Api.
    pub(super) const fn is_asked_later(&self) -> bool {
        self.wider && !self.goes_first
    }

    /// Takes in a segment of each; none where no text is both.
    fn take(&mut self, ours: &str, theirs: &str) -> Option<()> {
        let is_open = |segment: &str| segment.contains(['{', '*']);
        let is_whole = |segment: &str| {
            segment == "*"
                || segment.starts_with('{') && segment.find('}') == Some(segment.len() - 1)
        };
        if ours.starts_with('{') {
            self.wider |= !is_whole(theirs);
            // a parameter is never empty
            return (!theirs.is_empty()).then_some(());
        }
        if is_open(theirs) {
            self.is_narrower_here();
            return Some(());
        }
        // the case of the digits of an escape may differ
        let is_same = ours == theirs || theirs.contains('%') && ours.eq_ignore_ascii_case(theirs);
        is_same.then_some(())
    }

    const fn is_narrower_here(&mut self) {
        self.narrower = true;
        self.goes_first |= !self.wider;
    }
}

/// A segment that stands for all that follow, or is meant to.
fn is_rest(segment: &str) -> bool {
    segment == "**" || segment.starts_with("{*")
}

/// `path` as its requests arrive: without query and fragment, with its slashes merged and what need not be
/// escaped in plain text.
fn arriving(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    let mut arriving = String::with_capacity(path.len() + 1);
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            continue;
        }
        let whole = format!("/{segment}");
        let normal = NormalPath::parse(&whole).map(|normal| normal.as_str().to_owned());
        arriving.push_str(&normal.unwrap_or(whole));
    }
    arriving
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_path_judges_where_it_is_wider_or_the_same_by_another_name() {
        for (kept, path, judges) in [
            ("/users/{id}", "/users/me", Some(true)),
            ("/users/{id}", "/users/{id}:promote", Some(true)),
            ("/users/{id}", "/users/{id}.{format}", Some(true)),
            ("/users/{id}", "/users/{name}", Some(true)),
            ("/users/{id}", "//users//me", Some(true)),
            ("/users/me", "/users/%6de", Some(true)),
            ("/users/me", "/users/me?all=true", Some(true)),
            ("/users/me", "users/me", Some(true)),
            ("/users/%C3%A9", "/users/%c3%a9", Some(true)),
            ("/{all}/y", "/x/{id}", Some(true)),
            ("/x/{*rest}", "/x/*/admin", Some(true)),
            ("/x/{a}/{b}", "/x/*/admin", Some(true)),
            ("/x/{a}/{b}", "/x/**/admin", Some(true)),
            ("/{a}/y/z", "/x/{*rest}", Some(true)),
            ("/{a}", "/*", Some(true)),
            ("/users/me", "/users/{id}", Some(false)),
            ("/users/me", "/users/{id}.json", Some(false)),
            ("/x/{a}", "/x/{*rest}", Some(false)),
            ("/users/{id}", "/users", None),
            ("/users/{id}", "/users/", None),
            ("/users/{*rest}", "/users/", None),
            ("/users/{id}", "/users/me/a", None),
            ("/users/{id}/a", "/users/me/b", None),
            ("/Users", "/users", None),
        ] {
            let overlap = Overlap::of(kept, path);
            assert_eq!(overlap.map(|one| one.judges()), judges, "{kept} {path}");
        }
    }

    #[test]
    fn the_first_literal_decides_which_of_two_is_asked_first() {
        let later = |kept, path| Overlap::of(kept, path).unwrap().is_asked_later();
        assert!(later("/{all}/y", "/x/{id}"));
        assert!(!later("/x/{id}", "/{all}/y"));
        assert!(later("/users/{id}", "/users/me"));
        assert!(!later("/users/me", "/users/{id}"));
        assert!(!later("/users/{id}", "/users/{name}"));
    }
}
