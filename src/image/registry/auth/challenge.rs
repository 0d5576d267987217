//! `WWW-Authenticate` headers, RFC 9110 section 11.6.1.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// One scheme that a host accepts, with what it says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The scheme in lower case.
    pub(super) scheme: String,
    /// Names in lower case, and values.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, if it is there and not empty.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer, in order. What does not follow the grammar ends the header it is in.
pub(super) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = value.to_str() {
            parse(text, &mut challenges);
        }
    }
    challenges
}

fn parse(text: &str, challenges: &mut Vec<Challenge>) {
    let mut scanner = Scanner(text);
    loop {
        scanner.skip_separators();
        let Some(word) = scanner.token() else { return };
        let word = word.to_ascii_lowercase();
        if !scanner.skip_equals() {
            challenges.push(Challenge { scheme: word, parameters: Vec::new() });
        } else {
            let Some(value) = scanner.value() else { return };
            // A parameter before any scheme belongs to nothing.
            let Some(challenge) = challenges.last_mut() else { return };
            challenge.parameters.push((word, value));
        }
    }
}

struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn skip_separators(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
    }

    /// Takes a token, RFC 9110 section 5.6.2.
    fn token(&mut self) -> Option<&'a str> {
        let is_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
        let end = self.0.find(|char| !is_token(char)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// Takes an equals sign with blanks around it, as old servers write them.
    fn skip_equals(&mut self) -> bool {
        let Some(rest) = self.0.trim_start_matches([' ', '\t']).strip_prefix('=') else { return false };
        self.0 = rest.trim_start_matches([' ', '\t']);
        true
    }

    fn value(&mut self) -> Option<String> {
        let Some(quoted) = self.0.strip_prefix('"') else { return self.token().map(str::to_owned) };
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.0 = &quoted[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse_all(texts: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).expect("a header value"));
        }
        challenges(&headers)
    }

    #[test]
    fn a_bearer_challenge_says_where_tokens_are() {
        let all =
            parse_all(&[r#"Bearer realm="https://a.example/token",service="s",scope="repository:a/b:pull,push""#]);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].scheme, "bearer");
        assert_eq!(all[0].parameter("realm"), Some("https://a.example/token"));
        assert_eq!(all[0].parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(all[0].parameter("error"), None);
    }

    #[test]
    fn several_challenges_are_told_apart() {
        let one_header = parse_all(&[r#"Basic realm = "x, \"y\"" , BEARER Realm=z"#]);
        let two_headers = parse_all(&[r#"Basic realm="x, \"y\"""#, "Bearer realm=z"]);
        assert_eq!(one_header, two_headers);
        assert_eq!(one_header[0].parameter("realm"), Some(r#"x, "y""#));
        assert_eq!(one_header[1].scheme, "bearer");
        assert_eq!(one_header[1].parameter("realm"), Some("z"));
    }

    #[test]
    fn broken_challenges_do_not_hide_earlier_ones() {
        assert_eq!(parse_all(&["realm=x"]), []);
        assert_eq!(parse_all(&[r#"Basic realm="x"#])[0].parameter("realm"), None);
        assert_eq!(parse_all(&["Basic, ((("])[0].scheme, "basic");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(text in r#"[ -~]{0,80}"#) {
            parse_all(&[&text]);
        }
    }
}
