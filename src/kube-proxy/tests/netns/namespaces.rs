//! Network namespaces that a test makes and that go with it.

use std::process::Command;

/// Some namespaces, each with its loopback up.
pub(crate) struct Namespaces {
    prefix: String,
    names: &'static [&'static str],
}

impl Namespaces {
    /// Makes them; the error says why this machine cannot.
    pub(crate) fn create(tag: &str, names: &'static [&'static str]) -> Result<Self, String> {
        if !nix::unistd::geteuid().is_root() {
            return Err("not root".to_owned());
        }
        let namespaces = Self { prefix: format!("{tag}{}", std::process::id()), names };
        for name in names {
            ip(&["netns", "add", &namespaces.full_name(name)])?;
            namespaces.within(name, &["link", "set", "lo", "up"])?;
        }
        Ok(namespaces)
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `ip` for a namespace.
    pub(crate) fn within(&self, name: &str, args: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &self.full_name(name)], args].concat()).map(drop)
    }

    /// What `ip` says in a namespace.
    pub(crate) fn show(&self, name: &str, args: &[&str]) -> String {
        ip(&[&["-n", &self.full_name(name)], args].concat()).unwrap()
    }

    /// A cable between devices of two namespaces, up at both ends.
    pub(crate) fn link(&self, one: (&str, &str), other: (&str, &str)) -> Result<(), String> {
        let (near, far) = (self.full_name(one.0), self.full_name(other.0));
        ip(&["-n", &near, "link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", &far])?;
        self.within(other.0, &["link", "set", other.1, "up"])?;
        self.within(one.0, &["link", "set", one.1, "up"])
    }

    /// Runs code on a thread inside a namespace.
    pub(crate) fn run<T: Send + 'static>(&self, name: &str, code: impl FnOnce() -> T + Send + 'static) -> T {
        let path = format!("/run/netns/{}", self.full_name(name));
        let thread = std::thread::spawn(move || {
            let file = std::fs::File::open(path).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            code()
        });
        thread.join().unwrap()
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for name in self.names {
            let _ = ip(&["netns", "del", &self.full_name(name)]);
        }
    }
}

fn ip(args: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(args).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
}
