//! Static bearer tokens from a CSV file: `token,user,uid,"group1,group2"`.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::AuthnError;
use crate::user::User;

/// Users by the digest of their token, so that a lookup leaks nothing about the token.
pub struct TokenFile(HashMap<[u8; 32], User>);

impl TokenFile {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, AuthnError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| AuthnError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|line| AuthnError::TokenFile { path: path.to_owned(), line })
    }

    /// Reads the lines; the error is the number of a wrong one. An empty token is wrong: it would let everybody in.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fields = fields(line);
            let [token, name, uid, groups @ ..] = fields.as_slice() else {
                return Err(number + 1);
            };
            if token.is_empty() || name.is_empty() {
                return Err(number + 1);
            }
            let groups = groups.first().map_or("", String::as_str);
            let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
            let user = User { uid: uid.clone(), ..User::new(name.clone(), groups) };
            users.insert(Sha256::digest(token).into(), user);
        }
        Ok(Self(users))
    }

    /// The user of a token.
    pub fn user(&self, token: &str) -> Option<User> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.get(&digest).cloned()
    }
}

/// Splits a line at commas outside double quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("there is always a last field").push(character),
        }
    }
    for field in &mut fields {
        field.truncate(field.trim_end().len());
        field.drain(..field.len() - field.trim_start().len());
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_users_with_groups() {
        let file = TokenFile::parse("# comment\nabc, alice ,1,\"dev, ops\"\nxyz,bob,2\n").unwrap();
        let alice = file.user("abc").unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "1"));
        assert_eq!(alice.groups, ["dev", "ops"]);
        assert!(file.user("xyz").unwrap().groups.is_empty());
        assert!(file.user("").is_none() && file.user("ab").is_none());
    }

    #[test]
    fn lines_without_a_token_or_user_are_refused() {
        for (text, line) in [(",alice,1", 1), ("a,b,1\nabc,,1", 2), ("abc,alice", 1)] {
            assert_eq!(TokenFile::parse(text).err(), Some(line), "{text}");
        }
    }
}
