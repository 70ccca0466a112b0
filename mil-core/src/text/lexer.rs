//! Words, numbers, strings and signs.

use std::borrow::Cow;

use super::error::ParseError;

/// What a text is made of.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token<'a> {
    /// `[A-Za-z_][A-Za-z0-9_@]*`: the identifiers that the format allows, and its words.
    Word(&'a str),
    /// A number, as it is written: `12`, `-0x1.8p+3`, `-inf`.
    Number(&'a str),
    /// The content of a string, without escapes.
    String(Cow<'a, str>),
    /// One of `( ) { } [ ] < > , ; = ?`.
    Sign(u8),
    /// `->`.
    Arrow,
    /// Nothing more.
    End,
}

impl Token<'_> {
    /// The token in an error.
    pub(super) fn shown(&self) -> String {
        let short = |text: &str| match text.char_indices().nth(40) {
            Some((i, _)) => format!("{}..", &text[..i]),
            None => text.to_string(),
        };
        match self {
            Token::Word(w) | Token::Number(w) => format!("`{}`", short(w)),
            Token::String(s) => format!("the string \"{}\"", short(s).escape_debug()),
            Token::Sign(c) => format!("`{}`", char::from(*c)),
            Token::Arrow => "`->`".into(),
            Token::End => "the end of the text".into(),
        }
    }
}

/// Whether the format allows a name; what it does not allow is written as a string.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(in_word)
}

fn in_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'@'
}

/// Cuts a text into tokens, one at a time.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    fn end_of(&self, from: usize, inside: impl Fn(u8) -> bool) -> usize {
        self.text.as_bytes()[from..].iter().position(|b| !inside(*b)).map_or(self.text.len(), |n| from + n)
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), ParseError> {
        let bytes = self.text.as_bytes();
        self.at = self.end_of(self.at, |b| b.is_ascii_whitespace());
        let start = self.at;
        let Some(first) = bytes.get(start).copied() else { return Ok((Token::End, start)) };
        let second = bytes.get(start + 1).copied().unwrap_or_default();
        let token = match first {
            b'(' | b')' | b'{' | b'}' | b'[' | b']' | b'<' | b'>' | b',' | b';' | b'=' | b'?' => {
                self.at += 1;
                Token::Sign(first)
            }
            b'-' if second == b'>' => {
                self.at += 2;
                Token::Arrow
            }
            b'"' => Token::String(self.string()?),
            b'-' | b'+' | b'.' | b'0'..=b'9' => {
                self.at = self.end_of_number(start);
                Token::Number(&self.text[start..self.at])
            }
            b if in_word(b) && b != b'@' => {
                self.at = self.end_of(start, in_word);
                Token::Word(&self.text[start..self.at])
            }
            _ => {
                let c = self.text[start..].chars().next().unwrap_or_default();
                return Err(ParseError::at(self.text, start, format!("`{}` has no meaning here", c.escape_debug())));
            }
        };
        Ok((token, start))
    }

    /// Letters belong to a number (`0x1.8p+3`, `-inf`), and so does a sign behind its exponent's letter.
    fn end_of_number(&self, start: usize) -> usize {
        let bytes = self.text.as_bytes();
        let hex = bytes[start..].iter().take(3).any(|b| matches!(b, b'x' | b'X'));
        let mut at = start + 1;
        while let Some(b) = bytes.get(at) {
            let exponent = match bytes[at - 1] {
                b'p' | b'P' => true,
                b'e' | b'E' => !hex,
                _ => false,
            };
            if !(b.is_ascii_alphanumeric() || *b == b'.' || exponent && matches!(b, b'+' | b'-')) {
                break;
            }
            at += 1;
        }
        at
    }

    /// From the quote on. Line breaks and other control characters may stand as they are.
    fn string(&mut self) -> Result<Cow<'a, str>, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let from = self.at;
            self.at = self.end_of(from, |b| b != b'"' && b != b'\\');
            let plain = &self.text[from..self.at];
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    if from == start + 1 {
                        return Ok(Cow::Borrowed(plain));
                    }
                    unescaped.push_str(plain);
                    return Ok(Cow::Owned(unescaped));
                }
                Some(_) => {
                    unescaped.push_str(plain);
                    unescaped.push(self.escape()?);
                }
                None => return Err(ParseError::at(self.text, start, "a string has no closing `\"`")),
            }
        }
    }

    /// From the backslash on.
    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let letter = self.text[start + 1..].chars().next();
        self.at += 1 + letter.map_or(0, char::len_utf8);
        Ok(match letter {
            Some(c @ ('"' | '\\' | '/' | '\'')) => c,
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('u') => {
                let high = self.four_digits(start)?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or_else(|| self.no_escape(start));
                }
                if !self.text[self.at..].starts_with("\\u") {
                    return Err(self.no_escape(start));
                }
                self.at += 2;
                let low = self.four_digits(start)?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.no_escape(start));
                }
                char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    .ok_or_else(|| self.no_escape(start))?
            }
            _ => return Err(self.no_escape(start)),
        })
    }

    fn no_escape(&self, at: usize) -> ParseError {
        ParseError::at(self.text, at, "no character is escaped like this; write `\\\\` for a backslash")
    }

    fn four_digits(&mut self, start: usize) -> Result<u32, ParseError> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or_else(|| self.no_escape(start))?;
        self.at += 4;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
        let mut lexer = Lexer::new(text);
        let mut all = vec![];
        loop {
            match lexer.next()?.0 {
                Token::End => return Ok(all),
                token => all.push(token),
            }
        }
    }

    #[test]
    fn a_text_falls_into_tokens() {
        use Token::*;
        let found = tokens("a_1@b=-0x1.8p+3->(-inf,1e-3)\n0x1p-1;?.5").unwrap();
        let expected = [
            Word("a_1@b"),
            Sign(b'='),
            Number("-0x1.8p+3"),
            Arrow,
            Sign(b'('),
            Number("-inf"),
            Sign(b','),
            Number("1e-3"),
            Sign(b')'),
            Number("0x1p-1"),
            Sign(b';'),
            Sign(b'?'),
            Number(".5"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn strings_are_unescaped() {
        let string = |text| match &tokens(text)?[..] {
            [Token::String(s)] => Ok::<_, ParseError>(s.to_string()),
            other => panic!("{other:?}"),
        };
        assert_eq!(string(r#""""#).unwrap(), "");
        assert_eq!(string("\"é\n\"").unwrap(), "é\n");
        assert_eq!(string(r#""a\"b\\c\nd\u0001\u00e9\ud83d\ude00""#).unwrap(), "a\"b\\c\nd\u{1}é😀");
        for bad in [
            r#""a"#,
            r#""a\"#,
            r#""\q""#,
            r#""\u12""#,
            r#""\ud83d""#,
            r#""\ud83dA""#,
            r#""\ud83d\u0041""#,
            r#""\u12é""#,
        ] {
            assert!(string(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_characters_are_refused() {
        assert_eq!(tokens("a é").unwrap_err().one_line(), "line 1, column 3: `é` has no meaning here");
        assert!(tokens("@a").is_err() && tokens("#").is_err() && tokens("\0").is_err());
    }
}
