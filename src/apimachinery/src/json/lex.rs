//! The words JSON is made of.

use super::DecodeError;
use std::borrow::Cow;

/// A place in a text.
pub(super) struct Lexer<'t> {
    text: &'t str,
    pos: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, pos: 0 }
    }

    /// Goes past the byte just peeked at.
    pub(super) fn skip(&mut self) {
        self.pos += 1;
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.pos) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.pos += 1;
        }
        None
    }

    pub(super) fn unexpected(&self, doing: &str) -> DecodeError {
        let letter = self.text.get(self.pos..).and_then(|rest| rest.chars().next()).unwrap_or('\u{fffd}');
        DecodeError::Syntax(format!("invalid character {letter:?} {doing}"))
    }

    #[expect(clippy::unused_self, reason = "it reads like its neighbours")]
    pub(super) fn ended(&self) -> DecodeError {
        DecodeError::Syntax("unexpected end of JSON input".into())
    }

    pub(super) fn word(&mut self, word: &str) -> Result<(), DecodeError> {
        if self.text[self.pos..].starts_with(word) {
            self.pos += word.len();
            return Ok(());
        }
        Err(self.unexpected("in literal"))
    }

    pub(super) fn number(&mut self) -> Result<&'t str, DecodeError> {
        let text = self.text;
        let (start, bytes) = (self.pos, text.as_bytes());
        let digits = |mut at: usize| {
            let from = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            (at > from).then_some(at)
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        at = match bytes.get(at) {
            Some(b'0') => Some(at + 1),
            _ => digits(at),
        }
        .ok_or_else(|| self.unexpected("in numeric literal"))?;
        if bytes.get(at) == Some(&b'.') {
            at = digits(at + 1).ok_or_else(|| self.unexpected("after decimal point in numeric literal"))?;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
            at = digits(at + 1 + sign).ok_or_else(|| self.unexpected("in exponent of numeric literal"))?;
        }
        self.pos = at;
        Ok(&text[start..at])
    }

    pub(super) fn string(&mut self) -> Result<Cow<'t, str>, DecodeError> {
        let text = self.text;
        let bytes = text.as_bytes();
        let start = self.pos + 1;
        let mut at = start;
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.pos = at + 1;
                    return Ok(Cow::Borrowed(&text[start..at]));
                }
                Some(b'\\') => return self.escaped_string(start, at),
                Some(0..=0x1f) => {
                    self.pos = at;
                    return Err(self.unexpected("in string literal"));
                }
                Some(_) => at += 1,
                None => return Err(self.ended()),
            }
        }
    }

    fn escaped_string(&mut self, start: usize, first_escape: usize) -> Result<Cow<'t, str>, DecodeError> {
        let text = self.text;
        let mut plain = String::with_capacity(first_escape - start + 16);
        let mut copied = start;
        self.pos = first_escape;
        loop {
            match text.as_bytes().get(self.pos) {
                Some(b'"') => {
                    plain.push_str(&text[copied..self.pos]);
                    self.pos += 1;
                    return Ok(Cow::Owned(plain));
                }
                Some(b'\\') => {
                    plain.push_str(&text[copied..self.pos]);
                    plain.push(self.escape()?);
                    copied = self.pos;
                }
                Some(0..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(_) => self.pos += 1,
                None => return Err(self.ended()),
            }
        }
    }

    /// One escape sequence; half a surrogate pair becomes U+FFFD, as in Go.
    fn escape(&mut self) -> Result<char, DecodeError> {
        self.pos += 1;
        let Some(letter) = self.text.as_bytes().get(self.pos) else {
            return Err(self.ended());
        };
        let plain = match letter {
            b'"' | b'\\' | b'/' => char::from(*letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.pos += 1;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Result<char, DecodeError> {
        let high = self.hex(self.pos + 1).ok_or_else(|| self.unexpected("in \\u hexadecimal character escape"))?;
        self.pos += 5;
        if (0xd800..0xdc00).contains(&high)
            && self.text[self.pos..].starts_with("\\u")
            && let Some(low @ 0xdc00..0xe000) = self.hex(self.pos + 2)
        {
            self.pos += 6;
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
        }
        Ok(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.as_bytes().get(at..at + 4)?;
        digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
    }
}
