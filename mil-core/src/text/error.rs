//! Why a text cannot be read.

use std::fmt;

/// The most characters of a line that an error shows.
const SHOWN: usize = 120;

/// A text that is no program: what was found and what was expected, and where.
///
/// [`message`](Self::message) is one line. `Display` puts the place before it, and below it the line of the text with a
/// mark under the place:
///
/// ```text
/// line 4, column 42: expected a value, found `)`
///     tensor<fp16, [1]> y = add(x = x, y = );
///                                          ^
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseError {
    message: String,
    place: Option<Place>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    line: usize,
    column: usize,
    /// The line, or what of it is around the place.
    excerpt: String,
    /// Characters of the excerpt before the place.
    before: usize,
}

impl ParseError {
    /// An error about the text as a whole.
    pub(super) fn new(message: impl Into<String>) -> ParseError {
        ParseError { message: message.into(), place: None }
    }

    /// An error about the place `at` bytes into the text.
    pub(super) fn at(text: &str, at: usize, message: impl Into<String>) -> ParseError {
        let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let (head, tail) = text.split_at(at);
        let start = head.rfind('\n').map_or(0, |i| i + 1);
        let line = 1 + head.matches('\n').count();
        let before = head[start..].trim_start();
        let column = 1 + head[start..].chars().count();
        // Weights may stand in a line of many megabytes.
        let skipped = before.chars().count().saturating_sub(SHOWN / 2);
        let shown: String = before.chars().skip(skipped).collect();
        let mut excerpt = if skipped > 0 { format!("..{shown}") } else { shown };
        let before = excerpt.chars().count();
        let rest = tail.split('\n').next().unwrap_or_default().trim_end();
        excerpt.extend(rest.chars().take(SHOWN - SHOWN / 2));
        if rest.chars().nth(SHOWN - SHOWN / 2).is_some() {
            excerpt.push_str("..");
        }
        ParseError { message: message.into(), place: Some(Place { line, column, excerpt, before }) }
    }

    /// What was found and what was expected, on one line, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line of the text, from 1; `None` for what concerns the program as a whole.
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|p| p.line)
    }

    /// The character of the line, from 1.
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|p| p.column)
    }

    /// Place and message on one line, for those who read errors line by line.
    pub fn one_line(&self) -> String {
        match &self.place {
            Some(p) => format!("line {}, column {}: {}", p.line, p.column, self.message),
            None => self.message.clone(),
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())?;
        match &self.place {
            Some(p) => write!(f, "\n    {}\n    {:width$}^", p.excerpt, "", width = p.before),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_marked() {
        let text = "first\n    sécond line\nthird";
        let e = ParseError::at(text, text.find("line").unwrap(), "expected a word, found `line`");
        assert_eq!((e.line(), e.column()), (Some(2), Some(12)));
        assert_eq!(e.to_string(), "line 2, column 12: expected a word, found `line`\n    sécond line\n           ^");
        // In the middle of a character, and behind the end.
        assert_eq!(ParseError::at("é", 1, "").column(), Some(1));
        assert_eq!(ParseError::at("é", 9, "").column(), Some(2));
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("  {}X{}", "a".repeat(1000), "b".repeat(1000));
        let shown = ParseError::at(&text, 1002, "m").to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1], format!("    ..{}X{}..", "a".repeat(60), "b".repeat(59)));
        assert_eq!(lines[2].len(), lines[1].find('X').unwrap() + 1);
    }
}
