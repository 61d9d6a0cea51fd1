//! nftables: whole transactions in nft's own text, applied atomically.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::program::Program;

/// How long one transaction may take before it counts as failed.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How much of nft's complaint an error keeps.
const DETAIL_LIMIT: usize = 800;

/// The address family of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// Why nftables did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// No usable `nft` program on this host.
    #[error("the nft program was not found; install the package nftables")]
    NoProgram,
    /// The program could not be started or talked to.
    #[error("cannot run {program}")]
    Run {
        /// The program that was started.
        program: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The kernel or nft's parser refused the transaction; nothing of it was applied.
    #[error("nft refused the transaction: {detail}")]
    Refused {
        /// The first lines of nft's own complaint.
        detail: String,
    },
    /// It took too long; whether it was applied is unknown.
    #[error("nft did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// The nftables of one network namespace.
pub trait Nftables: Send + Sync + 'static {
    /// Applies the commands of `transaction` all together or not at all.
    fn apply(&self, transaction: &str) -> impl Future<Output = Result<(), NftablesError>> + Send;

    /// The table in nft's JSON form, or `None` if there is no such table.
    fn list_table(
        &self,
        family: Family,
        table: &str,
    ) -> impl Future<Output = Result<Option<String>, NftablesError>> + Send;
}

/// [`Nftables`] by the `nft` program.
#[derive(Debug, Clone)]
pub struct NftCommand {
    program: Program,
}

impl NftCommand {
    /// Finds `nft` here or, failing that, in the host mounted at `host_root`.
    pub fn find(host_root: Option<&Path>) -> Result<Self, NftablesError> {
        let program = Program::find("nft", host_root).ok_or(NftablesError::NoProgram)?;
        Ok(Self { program })
    }

    async fn run(&self, args: &[&str], input: &str) -> Result<std::process::Output, NftablesError> {
        let run = |source| NftablesError::Run { program: self.program.path().to_owned(), source };
        let mut child = self
            .program
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(run)?;
        let stdin = child.stdin.take();
        let feed = async move {
            if let Some(mut stdin) = stdin {
                // A child that refuses early closes the pipe; its exit status tells the story.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let work = async { tokio::join!(feed, child.wait_with_output()).1 };
        tokio::time::timeout(TIMEOUT, work).await.map_err(|_| NftablesError::Timeout)?.map_err(run)
    }
}

impl Nftables for NftCommand {
    async fn apply(&self, transaction: &str) -> Result<(), NftablesError> {
        let output = self.run(&["-f", "-"], transaction).await?;
        if output.status.success() {
            return Ok(());
        }
        Err(NftablesError::Refused { detail: detail(&output.stderr) })
    }

    async fn list_table(&self, family: Family, table: &str) -> Result<Option<String>, NftablesError> {
        let output = self.run(&["-j", "list", "table", &family.to_string(), table], "").await?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        let detail = detail(&output.stderr);
        if detail.contains("No such file or directory") {
            return Ok(None);
        }
        Err(NftablesError::Refused { detail })
    }
}

fn detail(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim().replace('\n', " | ");
    text.chars().take(DETAIL_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_transaction_tells_what_nft_said() {
        let Ok(nft) = NftCommand::find(None) else {
            eprintln!("skipped: no nft program");
            return;
        };
        let error = nft.apply("this is no command\n").await.unwrap_err();
        assert!(matches!(error, NftablesError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("this is no command"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_is_named() {
        let nft = NftCommand { program: Program::at("/no/such/nft") };
        let error = nft.apply("").await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run /no/such/nft");
    }
}
