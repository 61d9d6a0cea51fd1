//! A cloud image of our own making, and the web server that publishes it on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

const SCRIPT: &str = include_str!("cloud-image.sh");

/// An image as clouds publish it, made once and kept in the cache.
pub fn cloud_image(suite: &str) -> PathBuf {
    let cache = crate::lab::cache_dir().join("tests");
    let hash = hex::encode(&Sha256::digest(SCRIPT)[..8]);
    let image = cache.join(format!("cloud-{suite}-{hash}.qcow2"));
    if image.exists() {
        return image;
    }
    std::fs::create_dir_all(&cache).expect("the cache can be written to");
    let work = tempfile::Builder::new().prefix("cloud-").tempdir_in(&cache).expect("the cache can be written to");
    let mirror = provision::image::debian::mirror(Path::new("/etc/apt")).expect("this machine has a Debian mirror");
    let (script, root, raw) = (work.path().join("make"), work.path().join("root"), work.path().join("raw"));
    std::fs::write(&script, SCRIPT).expect("the cache can be written to");
    succeed(Command::new("sh").arg(script).args([suite, &mirror]).args([&root, &raw]));
    let draft = work.path().join("qcow2");
    succeed(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).args([&raw, &draft]));
    std::fs::rename(draft, &image).expect("the cache is one file system");
    image
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("the program can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Publishes one file until it is dropped.
pub struct CloudServer {
    url: String,
    sha256: String,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl CloudServer {
    /// Publishes `file` on a free port of loopback.
    pub fn start(file: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}/image.qcow2", listener.local_addr().expect("it listens"));
        let sha256 = sha256(file);
        let ended = Arc::new(AtomicBool::new(false));
        let (file, stop) = (file.to_owned(), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away is no matter of ours.
                let _ = answer(&stream, &file);
            }
        });
        Self { url, sha256, ended, thread: Some(thread) }
    }

    /// Where the file is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its checksum.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

impl Drop for CloudServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let address = self.url.trim_start_matches("http://").trim_end_matches("/image.qcow2");
        // Wakes the thread up.
        let _ = TcpStream::connect(address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request, from the byte that is asked for on.
fn answer(stream: &TcpStream, path: &Path) -> std::io::Result<()> {
    let mut from = 0;
    for line in BufReader::new(stream).lines() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        let range = line.strip_prefix("range: bytes=").and_then(|range| range.split('-').next()?.parse().ok());
        from = range.unwrap_or(from);
    }
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(from))?;
    let status = if from == 0 {
        "200 OK".to_owned()
    } else {
        format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}", size - 1)
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", size - from)?;
    std::io::copy(&mut file, &mut stream).map(drop)
}

fn sha256(path: &Path) -> String {
    let mut file = std::fs::File::open(path).expect("the image can be read");
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).expect("the image can be read");
        if length == 0 {
            return hex::encode(hash.finalize());
        }
        hash.update(&buffer[..length]);
    }
}
