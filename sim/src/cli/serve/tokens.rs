//! The file of users and their tokens.

use std::collections::BTreeMap;
use std::ops::Range;

use thiserror::Error;
use toml::Spanned;

/// What is wrong with the file, and where: lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{line}:{column}: {problem}")]
pub(super) struct TokensError {
    line: usize,
    column: usize,
    problem: String,
}

/// Reads lines of `user = "token"`.
pub(super) fn parse(
    text: &str,
    name_bytes_max: usize,
) -> Result<BTreeMap<String, String>, TokensError> {
    let at = |span: Option<Range<usize>>, problem: String| {
        let before = text
            .get(..span.map_or(0, |span| span.start))
            .unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        TokensError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    };
    let entries: BTreeMap<Spanned<String>, Spanned<String>> =
        toml::from_str(text).map_err(|error| at(error.span(), error.message().to_owned()))?;
    if entries.is_empty() {
        return Err(at(None, "there is no user = \"token\"".to_owned()));
    }
    let mut users = BTreeMap::new();
    for (user, token) in entries {
        let bytes = user.as_ref().len();
        if bytes == 0 || bytes > name_bytes_max {
            let problem = format!("a user's name has 1 to {name_bytes_max} bytes, not {bytes}");
            return Err(at(Some(user.span()), problem));
        }
        if token.as_ref().is_empty() {
            let problem = format!("the token of {:?} is empty", user.as_ref());
            return Err(at(Some(token.span()), problem));
        }
        users.insert(user.into_inner(), token.into_inner());
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, error: &str) {
        let refused = parse(text, 8).expect_err("it is wrong");
        assert_eq!(refused.to_string(), error);
    }

    #[test]
    fn each_line_is_a_user() {
        let text = "# ours\nanna = \"secret\"\n\"b c\" = 'other'\n";
        let expected = [("anna", "secret"), ("b c", "other")];
        let expected = expected.map(|(user, token)| (user.to_owned(), token.to_owned()));
        assert_eq!(parse(text, 8), Ok(BTreeMap::from(expected)));
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        check("", "1:1: there is no user = \"token\"");
        check(
            "anna = \"1\"\n\"böris\" = \"\"\n",
            "2:11: the token of \"böris\" is empty",
        );
        check("\"\" = \"1\"", "1:1: a user's name has 1 to 8 bytes, not 0");
        check(
            "anna = \"1\"\n  annabella = \"1\"",
            "2:3: a user's name has 1 to 8 bytes, not 9",
        );
        let kind = "invalid type: integer `5`, expected a string";
        check("anna = \"1\"\nboris = 5", &format!("2:9: {kind}"));
        let refused = parse("anna = \"1\"\nanna = \"2\"", 8).expect_err("it is there twice");
        assert!(
            refused.to_string().starts_with("2:1: duplicate key"),
            "{refused}"
        );
        let refused = parse("anna = \"1\"\nboris", 8).expect_err("it is no line");
        assert!(refused.to_string().starts_with("2:"), "{refused}");
    }
}
