//! What the kernel knows of a process: time on a processor and memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

const KIB: f64 = 1024.0;

/// A process started here; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a command without input; what it says goes to a file or nowhere.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(mut command: Command, log: Option<&Path>) -> anyhow::Result<Self> {
        let (out, err) = match log {
            Some(path) => {
                let file = fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                (Stdio::from(file.try_clone()?), Stdio::from(file))
            }
            None => (Stdio::null(), Stdio::null()),
        };
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {}", command.get_program().display()))? })
    }

    /// Fails if the process has ended by itself.
    ///
    /// # Errors
    /// With its exit status.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => anyhow::bail!("the process ended: {status}"),
            None => Ok(()),
        }
    }

    /// Ends it and waits for its end.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The time its threads have spent on a processor so far.
    ///
    /// # Errors
    /// If it is gone.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(self.file("task"))? {
            // A thread may end in between.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
            total += nanoseconds.context("schedstat begins with no number")?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// If it is gone.
    pub fn resident(&self) -> anyhow::Result<f64> {
        self.status("VmRSS")
    }

    /// The most memory that was resident since [`Process::forget_peak`], in MiB.
    ///
    /// # Errors
    /// If it is gone.
    pub fn peak(&self) -> anyhow::Result<f64> {
        self.status("VmHWM")
    }

    /// Lets [`Process::peak`] begin anew.
    ///
    /// # Errors
    /// If it is gone.
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        fs::write(self.file("clear_refs"), "5").context("cannot reset the peak of resident memory")
    }

    fn status(&self, field: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(self.file("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(number.with_context(|| format!("no {field} in the status of the process"))? / KIB)
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_time_and_memory_of_a_process() {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let mut process = Process::start(command, None).unwrap();
        let begun = process.cpu().unwrap();
        while process.cpu().unwrap() < begun + Duration::from_millis(20) {
            process.check().unwrap();
        }
        process.forget_peak().unwrap();
        assert!(process.resident().unwrap() > 0.0);
        assert!(process.peak().unwrap() >= process.resident().unwrap() / 2.0);
        process.kill().unwrap();
        assert!(process.check().is_err());
    }
}
