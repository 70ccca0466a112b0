//! Source text as lines of tokens.

use crate::import::Refusal;

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Float(f64),
    Text(String),
    /// A character that stands for itself.
    Mark(char),
    /// `->`.
    Arrow,
}

/// A line; what is in brackets goes on it, over as many lines as it takes.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token>,
}

/// The lines that have tokens.
pub(super) fn lines(source: &str) -> Result<Vec<Line>, Refusal> {
    let mut lexer = Lexer { rest: source, number: 1 };
    let mut lines = vec![];
    while !lexer.rest.is_empty() {
        let indent = lexer.skip(|c| c == ' ');
        let number = lexer.number;
        let tokens = lexer.line()?;
        if !tokens.is_empty() {
            lines.push(Line { number, indent, tokens });
        }
    }
    Ok(lines)
}

struct Lexer<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lexer<'a> {
    fn wrong(&self, what: impl std::fmt::Display) -> Refusal {
        Refusal::new(format!("line {}: {what}", self.number))
    }

    /// Goes over such characters and says how many there were.
    fn skip(&mut self, is: impl Fn(char) -> bool) -> usize {
        let rest = self.rest.trim_start_matches(is);
        let skipped = self.rest.len() - rest.len();
        self.rest = rest;
        skipped
    }

    /// Such characters.
    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let all = self.rest;
        let length = self.skip(is);
        &all[..length]
    }

    /// Tokens up to the end of the line.
    fn line(&mut self) -> Result<Vec<Token>, Refusal> {
        let (mut tokens, mut open) = (vec![], 0usize);
        while let Some(c) = self.rest.chars().next() {
            match c {
                '\n' => {
                    self.rest = &self.rest[1..];
                    self.number += 1;
                    if open == 0 {
                        break;
                    }
                }
                ' ' | '\t' | '\r' => self.rest = &self.rest[1..],
                '#' => _ = self.skip(|c| c != '\n'),
                '"' | '\'' => tokens.push(self.text(c)?),
                '0'..='9' => tokens.push(self.number()?),
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
                    tokens.push(Token::Name(name.to_string()));
                }
                '-' if self.rest.starts_with("->") => {
                    self.rest = &self.rest[2..];
                    tokens.push(Token::Arrow);
                }
                c if c.is_ascii_punctuation() => {
                    match c {
                        '(' | '[' | '{' => open += 1,
                        ')' | ']' | '}' => open = open.saturating_sub(1),
                        _ => {}
                    }
                    self.rest = &self.rest[1..];
                    tokens.push(Token::Mark(c));
                }
                c => return Err(self.wrong(format!("found `{}`, which TorchScript does not write", c.escape_debug()))),
            }
        }
        Ok(tokens)
    }

    fn number(&mut self) -> Result<Token, Refusal> {
        let all = self.rest;
        let digits = |c: char| c.is_ascii_digit();
        self.skip(digits);
        let mut float = false;
        if let Some(rest) = self.rest.strip_prefix('.') {
            (self.rest, float) = (rest, true);
            self.skip(digits);
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            let rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            if rest.starts_with(digits) {
                (self.rest, float) = (rest, true);
                self.skip(digits);
            }
        }
        let text = &all[..all.len() - self.rest.len()];
        let wrong = || self.wrong(format!("`{text}` is no number that is read"));
        if self.rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err(wrong());
        }
        if float {
            return text.parse().map(Token::Float).map_err(|_| wrong());
        }
        text.parse().map(Token::Int).map_err(|_| wrong())
    }

    /// Text in quotes. Bytes that are no letters are written by their numbers.
    fn text(&mut self, quote: char) -> Result<Token, Refusal> {
        let (mut bytes, mut chars) = (vec![], self.rest[1..].chars());
        loop {
            let Some(c) = chars.next().filter(|c| *c != '\n') else { return Err(self.wrong("text without end")) };
            if c == quote {
                break;
            }
            if c != '\\' {
                bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
                continue;
            }
            let escape = chars.next().unwrap_or('\n');
            bytes.push(match escape {
                'n' => b'\n',
                't' => b'\t',
                'r' => b'\r',
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'v' => 11,
                '\\' | '\'' | '"' => escape as u8,
                'x' | '0'..='7' => {
                    // Two digits behind `x`, or three without.
                    let more = chars.as_str().get(..2).unwrap_or_default();
                    let (digits, radix) =
                        if escape == 'x' { (more.to_string(), 16) } else { (format!("{escape}{more}"), 8) };
                    let byte = u8::from_str_radix(&digits, radix).ok().filter(|_| more.len() == 2);
                    let Some(byte) = byte else { return Err(self.wrong("text with an unknown escape")) };
                    chars = chars.as_str()[2..].chars();
                    byte
                }
                _ => return Err(self.wrong("text with an unknown escape")),
            });
        }
        self.rest = chars.as_str();
        Ok(Token::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_apart() {
        use Token::*;
        let tokens = lines("a1 = -1.5e-05 -> 2. 3 # no\n").unwrap().remove(0).tokens;
        let name = Name("a1".into());
        assert_eq!(tokens, [name, Mark('='), Mark('-'), Float(1.5e-5), Arrow, Float(2.0), Int(3)]);
        let text = lines(r#""a\"\n\303\244\x41" 'b'"#).unwrap().remove(0).tokens;
        assert_eq!(text, [Text("a\"\nä\u{41}".into()), Text("b".into())]);
    }

    #[test]
    fn brackets_go_over_lines() {
        let found = lines("f(a,\n\n  b)\n\n  c\n").unwrap();
        let places: Vec<_> = found.iter().map(|l| (l.number, l.indent, l.tokens.len())).collect();
        assert_eq!(places, [(1, 0, 6), (5, 2, 1)]);
    }

    #[test]
    fn errors_have_lines() {
        for (source, message) in [
            ("a\n\"b", "line 2: text without end"),
            ("\n\n1j", "line 3: `1` is no number"),
            ("99999999999999999999", "is no number"),
            ("\"\\q\"", "unknown escape"),
            ("\"\\9\"", "unknown escape"),
            ("\"\\x4", "unknown escape"),
            ("\"\\777\"", "unknown escape"),
            ("ä", "line 1: found `ä`"),
        ] {
            let e = lines(source).unwrap_err().to_string();
            assert!(e.contains(message), "{e}");
        }
    }
}
