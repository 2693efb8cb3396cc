//! Which token addresses a use of a provider may name: `https://*.isharetest.net/*`.
//!
//! The signed assertion of a party goes to the address that a use names, so the operator says where
//! it may go. A `*` before the first slash stands for a run of characters of one label of the host, of
//! which there is one at least; after it, for any run of characters of the path. Scheme, port and
//! query are compared exactly; nobody may name user information or a fragment.

use url::Url;

/// The addresses that are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenUrls(Vec<TokenUrlPattern>);

/// One pattern of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUrlPattern {
    scheme: String,
    host: String,
    port: Option<u16>,
    path: String,
    query: Option<String>,
}

impl TokenUrls {
    /// These patterns; with none, nothing is allowed.
    #[must_use]
    pub fn new(patterns: Vec<TokenUrlPattern>) -> Self {
        Self(patterns)
    }

    /// Whether one of them matches.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        self.0.iter().any(|pattern| pattern.matches(url))
    }
}

impl TokenUrlPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it must begin with https:// or http://")?;
        if !matches!(scheme, "https" | "http") {
            return Err("it must begin with https:// or http://");
        }
        if rest.contains('#') {
            return Err("it must have no fragment");
        }
        let (rest, query) = match rest.split_once('?') {
            Some((_, query)) if query.contains('*') => {
                return Err("a `*` cannot stand in the query");
            }
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err("it must have no user information");
        }
        // any name in place of each `*`, and it is an address like those that it is compared with
        let sample = format!("{scheme}://{}/", authority.replace('*', "x"));
        let sample = Url::parse(&sample).map_err(|_| "the host or port is none")?;
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        };
        if host.is_empty() {
            return Err("the host or port is none");
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            host: host.to_ascii_lowercase(),
            port: sample.port_or_known_default(),
            path: path.to_owned(),
            query,
        })
    }

    /// Whether `url` is one of these addresses.
    #[must_use]
    pub fn matches(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else {
            return false;
        };
        url.scheme() == self.scheme
            && url.port_or_known_default() == self.port
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && url.query() == self.query.as_deref()
            && matches_host(&self.host, host)
            && matches_run(&self.path, url.path())
    }
}

fn matches_host(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.split('.'), host.split('.'));
    let pairs: Vec<_> = pattern.clone().zip(host.clone()).collect();
    pattern.count() == host.count()
        && pairs
            .into_iter()
            .all(|(pattern, label)| !label.is_empty() && matches_run(pattern, label))
}

/// Whether `text` is `pattern`, with any run of characters for each `*`.
fn matches_run(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    // the first place for each part leaves the most for those after it
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, url: &str) -> bool {
        let url = Url::parse(url).unwrap();
        TokenUrlPattern::parse(pattern).unwrap().matches(&url)
    }

    #[test]
    fn a_star_stands_for_a_label_and_for_any_path() {
        let pattern = "https://*.isharetest.net/*";
        for url in [
            "https://ar.isharetest.net/connect/token",
            "https://AR.isharetest.net/",
            "https://ar.isharetest.net:443/x",
        ] {
            assert!(matches(pattern, url), "{url}");
        }
        assert!(matches(
            "https://idp-*.example/realms/*/token",
            "https://idp-1.example/realms/a/b/token"
        ));
        assert!(matches(
            "http://127.0.0.1:8080/token",
            "http://127.0.0.1:8080/token"
        ));
        assert!(matches("https://a.example", "https://a.example/"));
        assert!(matches(
            "https://a.example/t?x=1",
            "https://a.example/t?x=1"
        ));
        assert!(matches("https://[::1]:8443/t", "https://[::1]:8443/t"));
    }

    #[test]
    fn everything_else_is_another_address() {
        let pattern = "https://*.isharetest.net/*";
        for url in [
            "http://ar.isharetest.net/token",
            "https://isharetest.net/token",
            "https://.isharetest.net/token",
            "https://a.b.isharetest.net/token",
            "https://ar.isharetest.net.evil.example/token",
            "https://evil.example/.isharetest.net/token",
            "https://evil.example?.isharetest.net/",
            "https://evil.example\\.isharetest.net/",
            "https://ar.isharetest.net:8443/token",
            "https://user@ar.isharetest.net/token",
            "https://user:secret@ar.isharetest.net/token",
            "https://ar.isharetest.net@evil.example/token",
            "https://ar.isharetest.net/token#x",
            "https://ar.isharetest.net/token?x=1",
            "https://evilisharetest.net/token",
        ] {
            assert!(
                Url::parse(url).map_or(true, |url| !TokenUrlPattern::parse(pattern)
                    .unwrap()
                    .matches(&url)),
                "{url}"
            );
        }
        // dots in a path are resolved before it is compared
        assert!(!matches(
            "https://a.example/public/*",
            "https://a.example/public/../private"
        ));
        assert!(!matches("https://a.example/t*a", "https://a.example/t"));
        assert!(!matches("https://a.example/aa*aa", "https://a.example/aaa"));
        assert!(!TokenUrls::default().allows(&Url::parse("https://a.example/").unwrap()));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "",
            "*",
            "idp.example/token",
            "ftp://idp.example/",
            "*://idp.example/",
            "https://",
            "https:///token",
            "https://user@idp.example/",
            "https://idp.example/#x",
            "https://idp.example/?x=*",
            "https://idp.example:99999/",
            "https://idp.example:*/",
            "https://i dp/",
        ] {
            assert!(TokenUrlPattern::parse(text).is_err(), "{text}");
        }
    }
}
