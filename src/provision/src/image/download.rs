//! Cloud images by address and checksum: fetched with resume, verified before use, kept.
//!
//! An image that does not have the checksum its user wrote down is never given out and never kept.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Listener, Progress, lock};

/// How often a broken transfer is taken up again.
const ATTEMPTS: u32 = 5;

/// How long a server may stay silent.
const SILENCE: Duration = Duration::from_secs(30);

/// The first pause before another attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// An image somebody publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudImage {
    /// Where it is.
    pub url: String,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

/// A failed download; [`DownloadError::cure`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The checksum is not one.
    #[error("{0:?} is not a SHA-256: 64 hexadecimal digits are needed")]
    BadChecksum(String),
    /// The server cannot be reached or the transfer breaks again and again.
    #[error("cannot fetch {url}")]
    Transfer {
        /// Where from.
        url: String,
        /// What the client said.
        #[source]
        source: reqwest::Error,
    },
    /// The server refuses.
    #[error("{url} answers {status}")]
    Refused {
        /// Where from.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// Fewer bytes came than the server announced, again and again.
    #[error("{url} ends after {got} of {announced} bytes")]
    Truncated {
        /// Where from.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        announced: u64,
    },
    /// The bytes are not those the user wants.
    #[error("{url} has the SHA-256 {actual}, not {expected}")]
    Mismatch {
        /// Where from.
        url: String,
        /// What was asked for.
        expected: String,
        /// What came.
        actual: String,
    },
    /// The image cannot be kept.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DownloadError {
    /// One sentence on what to do, where we know it.
    pub fn cure(&self) -> Option<&'static str> {
        Some(match self {
            DownloadError::BadChecksum(_) => "copy the checksum from the publisher's SHA256SUMS file",
            DownloadError::Mismatch { .. } => {
                "the publisher has replaced the image or somebody has changed it: compare with the publisher's SHA256SUMS"
            }
            DownloadError::Refused { status, .. } if *status == StatusCode::NOT_FOUND => {
                "check the address of the image"
            }
            DownloadError::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free disk space, or choose another cache directory"
            }
            DownloadError::Transfer { .. } | DownloadError::Truncated { .. } => {
                "check the network and run the command again: it goes on where it stopped"
            }
            _ => return None,
        })
    }

    /// Whether another attempt may help.
    fn is_passing(&self) -> bool {
        match self {
            DownloadError::Transfer { .. } | DownloadError::Truncated { .. } => true,
            DownloadError::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// The image as a file if it was fetched before.
pub fn downloaded(image: &CloudImage, cache_dir: &Path) -> Option<PathBuf> {
    let place = cache_dir.join("downloads").join(image.sha256.to_ascii_lowercase());
    place.exists().then_some(place)
}

/// The image as a file: found in the cache, or fetched.
pub async fn fetch(image: &CloudImage, cache_dir: &Path, listener: Listener<'_>) -> Result<PathBuf, DownloadError> {
    let expected = image.sha256.to_ascii_lowercase();
    if hex::decode(&expected).map(|bytes| bytes.len()) != Ok(32) {
        return Err(DownloadError::BadChecksum(image.sha256.clone()));
    }
    let dir = cache_dir.join("downloads");
    let place = dir.join(&expected);
    if place.exists() {
        return Ok(place);
    }
    let waiting = || listener(Progress::Detail("waiting for another download".into()));
    let held = lock::take(&dir.join(format!(".{expected}.lock")), waiting).await;
    let _held = held.map_err(|source| DownloadError::File { path: dir.clone(), source })?;
    if place.exists() {
        return Ok(place);
    }
    let part = dir.join(format!("{expected}.part"));
    let transfer = Transfer { url: &image.url, part: &part, listener };
    transfer.run_to_end().await?;
    let actual = sha256(&part).await.map_err(|source| DownloadError::File { path: part.clone(), source })?;
    let end =
        if actual == expected { tokio::fs::rename(&part, &place).await } else { tokio::fs::remove_file(&part).await };
    end.map_err(|source| DownloadError::File { path: part.clone(), source })?;
    if actual != expected {
        return Err(DownloadError::Mismatch { url: image.url.clone(), expected, actual });
    }
    Ok(place)
}

/// One file on its way.
struct Transfer<'a> {
    url: &'a str,
    part: &'a Path,
    listener: Listener<'a>,
}

impl Transfer<'_> {
    async fn run_to_end(&self) -> Result<(), DownloadError> {
        let client = reqwest::Client::builder().connect_timeout(SILENCE).read_timeout(SILENCE).build();
        let client = client.map_err(|source| self.broken(source))?;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            match self.attempt(&client).await {
                Err(error) if error.is_passing() && attempt < ATTEMPTS => {
                    (self.listener)(Progress::Detail(format!("{error}; trying again")));
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                end => return end,
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Asks for what is still missing and appends it.
    async fn attempt(&self, client: &reqwest::Client) -> Result<(), DownloadError> {
        let have = tokio::fs::metadata(self.part).await.map_or(0, |meta| meta.len());
        let mut request = client.get(self.url);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = request.send().await.map_err(|source| self.broken(source))?;
        let status = response.status();
        // Nothing is missing, or the part is longer than the image: the checksum will tell.
        if status == StatusCode::RANGE_NOT_SATISFIABLE && have > 0 {
            return Ok(());
        }
        if !status.is_success() {
            return Err(DownloadError::Refused { url: self.url.to_owned(), status });
        }
        let resumed = status == StatusCode::PARTIAL_CONTENT && starts_at(&response, have);
        let mut done = if resumed { have } else { 0 };
        let total = response.content_length().map(|rest| done + rest);
        let mut options = tokio::fs::OpenOptions::new();
        let options = options.create(true).write(true).append(resumed).truncate(!resumed);
        let mut file = options.open(self.part).await.map_err(|source| self.unwritable(source))?;
        while let Some(chunk) = response.chunk().await.map_err(|source| self.broken(source))? {
            file.write_all(&chunk).await.map_err(|source| self.unwritable(source))?;
            done += chunk.len() as u64;
            (self.listener)(Progress::Bytes { done, total });
        }
        file.flush().await.map_err(|source| self.unwritable(source))?;
        match total {
            Some(announced) if done < announced => {
                Err(DownloadError::Truncated { url: self.url.to_owned(), got: done, announced })
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, source: reqwest::Error) -> DownloadError {
        // The address is told once, by us.
        DownloadError::Transfer { url: self.url.to_owned(), source: source.without_url() }
    }

    fn unwritable(&self, source: io::Error) -> DownloadError {
        DownloadError::File { path: self.part.to_owned(), source }
    }
}

/// Whether the answer begins where we asked it to.
fn starts_at(response: &reqwest::Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

async fn sha256(path: &Path) -> io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer).await?;
        if n == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..n]);
    }
}

#[cfg(test)]
mod tests;
