//! Where Debian packages come from: the mirror this machine itself uses.

use std::path::Path;

/// The Debian release that machines run.
pub const SUITE: &str = "trixie";

/// The mirror named first in the apt sources below `etc_apt`, without a trailing slash.
///
/// Only a Debian archive counts: third-party repositories and the security archive have no base system.
pub fn mirror(etc_apt: &Path) -> Option<String> {
    let mut files = vec![etc_apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc_apt.join("sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        let addresses = if file.extension().is_some_and(|e| e == "sources") { stanzas(&text) } else { lines(&text) };
        addresses.into_iter().find(|address| is_archive(address))
    })
}

/// The lines that mmdebstrap takes for a suite and its updates.
pub fn sources(mirror: &str, suite: &str) -> Vec<String> {
    vec![format!("deb {mirror} {suite} main"), format!("deb {mirror} {suite}-updates main")]
}

fn is_archive(address: &str) -> bool {
    address.starts_with("http") && address.ends_with("/debian")
}

/// Addresses of the deb822 form.
fn stanzas(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some((key, value)) = line.split_once(':')
            && key.trim().eq_ignore_ascii_case("uris")
        {
            found.extend(value.split_whitespace().map(clean));
        }
    }
    found
}

/// Addresses of the one-line form.
fn lines(text: &str) -> Vec<String> {
    let fields = text.lines().map(str::trim).filter_map(|line| line.strip_prefix("deb "));
    fields.filter_map(|line| line.split_whitespace().find(|word| word.contains("://"))).map(clean).collect()
}

fn clean(address: &str) -> String {
    address.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(mirror(dir.path()).as_deref(), expected);
    }

    #[test]
    fn the_machines_own_mirror_is_found() {
        check(&[], None);
        check(
            &[("sources.list", "deb [arch=amd64] http://m.example/debian/ bookworm main\n")],
            Some("http://m.example/debian"),
        );
        let stanza = "Types: deb\n# URIs: http://no.example/debian\nURIs: http://m.example/debian\nSuites: bookworm\n";
        check(&[("sources.list.d/debian.sources", stanza)], Some("http://m.example/debian"));
    }

    #[test]
    fn other_archives_are_passed_over() {
        let text = "deb https://apt.example/docker bookworm stable\n# deb http://old.example/debian x main\n\
                    deb http://m.example/debian-security s main\ndeb-src http://s.example/debian x main\n";
        check(&[("sources.list", text)], None);
    }
}
