//! The text forms of selectors.

use super::{FieldTerm, LabelSelector, Operator, Requirement, SelectorError};

/// Reads requirements until the text ends.
pub(super) fn label_selector(text: &str) -> Result<LabelSelector, SelectorError> {
    let mut tokens = Tokens { rest: text };
    let mut all = Vec::new();
    if tokens.peek().is_empty() {
        return Ok(LabelSelector::everything());
    }
    loop {
        all.push(requirement(&mut tokens)?);
        match tokens.next() {
            "" => return Ok(LabelSelector::new(all)),
            "," if tokens.peek().is_empty() => return Err(found("", "identifier after ','")),
            "," => {}
            other => return Err(found(other, "',' or 'end of string'")),
        }
    }
}

fn found(token: &str, expected: &str) -> SelectorError {
    SelectorError(format!("unable to parse requirement: found '{token}', expected: {expected}"))
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<Requirement, SelectorError> {
    let first = tokens.next();
    if first == "!" {
        return Requirement::new(identifier(tokens.next())?, Operator::DoesNotExist, Vec::new());
    }
    let key = identifier(first)?;
    let operator = match tokens.peek() {
        "" | "," => return Requirement::new(key, Operator::Exists, Vec::new()),
        "=" | "==" | "in" => Operator::In,
        "!=" | "notin" => Operator::NotIn,
        ">" => Operator::Gt,
        "<" => Operator::Lt,
        other => return Err(found(other, "in, notin, =, ==, !=, gt, lt")),
    };
    let values = if matches!(tokens.next(), "in" | "notin") { value_set(tokens)? } else { vec![value(tokens)] };
    Requirement::new(key, operator, values)
}

fn identifier(token: &str) -> Result<&str, SelectorError> {
    if token.is_empty() || token.starts_with(is_special) { Err(found(token, "identifier")) } else { Ok(token) }
}

/// A value may be left out: `a=`.
fn value(tokens: &mut Tokens<'_>) -> String {
    if matches!(tokens.peek(), "" | ",") { String::new() } else { tokens.next().to_owned() }
}

fn value_set(tokens: &mut Tokens<'_>) -> Result<Vec<String>, SelectorError> {
    match tokens.next() {
        "(" => {}
        other => return Err(found(other, "'('")),
    }
    let mut values = Vec::new();
    loop {
        match tokens.next() {
            // "a in (,b)" has an empty value, and so has "a in ()".
            token @ ("," | ")") => {
                values.push(String::new());
                if token == ")" {
                    return Ok(values);
                }
            }
            token => {
                values.push(identifier(token)?.to_owned());
                match tokens.next() {
                    "," => {}
                    ")" => return Ok(values),
                    other => return Err(found(other, "',' or ')'")),
                }
            }
        }
    }
}

fn is_special(letter: char) -> bool {
    "=!(),<>".contains(letter)
}

struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    fn peek(&self) -> &'t str {
        Tokens { rest: self.rest }.next()
    }

    /// The next token; "" at the end.
    fn next(&mut self) -> &'t str {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let length = match rest.chars().next() {
            None => 0,
            Some('=' | '!') if rest[1..].starts_with('=') => 2,
            Some(letter) if is_special(letter) => 1,
            Some(_) => {
                rest.find(|letter: char| is_special(letter) || letter.is_ascii_whitespace()).unwrap_or(rest.len())
            }
        };
        let (token, rest) = rest.split_at(length);
        self.rest = rest;
        token
    }
}

/// Reads `a=b,c==d,e!=f`.
pub(super) fn field_selector(text: &str) -> Result<Vec<FieldTerm>, SelectorError> {
    split_terms(text)
        .into_iter()
        .filter(|term| !term.is_empty())
        .map(|term| {
            let wrong = || SelectorError(format!("invalid selector: '{text}'; can't understand '{term}'"));
            let (field, operator, value) = split_term(term).ok_or_else(wrong)?;
            let value = unescape(value).ok_or_else(|| {
                SelectorError(format!("invalid field selector: invalid escape sequence in {value:?}"))
            })?;
            Ok(FieldTerm { field: field.trim().to_owned(), value, negated: operator == "!=" })
        })
        .collect()
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(index, _)| {
        ["!=", "==", "="]
            .into_iter()
            .find(|operator| term[index..].starts_with(operator))
            .map(|operator| (&term[..index], operator, &term[index + operator.len()..]))
    })
}

fn unescape(value: &str) -> Option<String> {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => plain.push(letters.next().filter(|next| matches!(next, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}
