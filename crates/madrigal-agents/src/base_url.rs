//! The address of an OpenAI-compatible server, and keeping the user part of addresses out of everything shown.
//!
//! Owns the rule that the user part lives in memory only. Does not own connecting.

use std::borrow::Cow;
use std::fmt;

use url::Url;

/// The base address of a server, `http` or `https`. `Display` and `Debug` leave the user part out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BaseUrl(Url);

/// Why an address was refused. Completes "failed to …"; holds no user part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read the address `{shown}`: {reason}")]
pub struct BaseUrlError {
    shown: String,
    reason: String,
}

impl BaseUrl {
    /// Reads an address such as `http://localhost:8080/v1`.
    ///
    /// # Errors
    /// When it is no `http` or `https` address, or has a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let refuse = |reason: &str| BaseUrlError { shown: hide_users(text).into_owned(), reason: reason.to_owned() };
        // The URL standard would silently drop or encode these.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(refuse("it contains white space"));
        }
        let mut url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("it must begin with `http://` or `https://`"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(refuse("it names no host"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("a base address has no `?` and no `#` part"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The address with the user part, for connecting only. Never show, log or record it.
    #[must_use]
    pub fn with_user(&self) -> &Url {
        &self.0
    }

    /// The address without the user part and without a slash at its end.
    #[must_use]
    pub fn without_user(&self) -> String {
        let mut url = self.0.clone();
        // Only addresses without a host refuse this, and `parse` lets none of them in.
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        if cleared.is_err() {
            return String::new();
        }
        url.as_str().trim_end_matches('/').to_owned()
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_user())
    }
}

impl fmt::Debug for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BaseUrl({})", self.without_user())
    }
}

/// `text` with the user part of every address in it left out, for errors that repeat what was typed.
///
/// Takes more rather than less: in a malformed address everything between `://` and the last `@` of the word goes.
#[must_use]
pub fn hide_users(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        match word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
            Some((scheme, rest)) => {
                shown.push_str(scheme);
                shown.push_str("://");
                shown.push_str(rest);
            }
            None => shown.push_str(word),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_part_is_never_shown() {
        let url = BaseUrl::parse("https://user:s3cret@example.org:8443/v1/").unwrap();
        assert_eq!(url.to_string(), "https://example.org:8443/v1");
        assert_eq!(format!("{url:?}"), "BaseUrl(https://example.org:8443/v1)");
        assert_eq!(url.with_user().password(), Some("s3cret"));
        for bad in [
            "ftp://user:s3cret@h",
            "https://user:s3cret@h:port",
            "https://user:s3cret@",
            "https://user:s3cret@h/?q",
            "http//user:s3cret@h://s3cret@x",
        ] {
            let error = BaseUrl::parse(bad).unwrap_err().to_string();
            assert!(!error.split("://").skip(1).any(|part| part.contains("s3cret")), "{error}");
        }
    }

    #[test]
    fn addresses_are_read_and_refused() {
        let cases = [
            ("http://localhost:8080/v1", Ok("http://localhost:8080/v1")),
            ("http://LOCALHOST", Ok("http://localhost")),
            ("http://[::1]:80/a/b/", Ok("http://[::1]/a/b")),
            ("localhost:8080", Err("must begin with")),
            ("http://", Err("empty host")),
            ("http://h/?key=1", Err("no `?`")),
            ("http://a b", Err("white space")),
            ("", Err("relative URL")),
        ];
        for (text, expected) in cases {
            match (BaseUrl::parse(text), expected) {
                (Ok(url), Ok(shown)) => assert_eq!(url.to_string(), shown),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn users_are_hidden_in_any_text() {
        let cases = [
            ("plain text, me@home", "plain text, me@home"),
            ("compt:http://u:p@h/v1#m", "compt:http://h/v1#m"),
            ("see https://u:p/x@h and http://a@b now", "see https://h and http://b now"),
            ("https://example.org/x", "https://example.org/x"),
        ];
        for (text, shown) in cases {
            assert_eq!(hide_users(text), shown);
        }
    }
}
