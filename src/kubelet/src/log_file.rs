//! Container logs as runtimes write them: `TIME STREAM TAG TEXT`, where tag `P` says that the line goes on.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use k8s_openapi::jiff::Timestamp;

/// How much is read at once.
const CHUNK: usize = 32 * 1024;

/// What somebody wants of a log.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// Go on with what comes later.
    pub follow: bool,
    /// Only this many lines at the end.
    pub tail: Option<usize>,
    /// Only what was written from then on.
    pub since: Option<Timestamp>,
    /// With the time in front of each line.
    pub timestamps: bool,
    /// At most this many bytes.
    pub limit_bytes: Option<usize>,
    /// Only one of `stdout` and `stderr`.
    pub stream: Option<&'static str>,
}

/// Turns lines of a log file into what was asked for.
#[derive(Debug)]
pub struct Renderer {
    options: LogOptions,
    left: Option<usize>,
    pending: Vec<u8>,
    inside_line: bool,
}

impl Renderer {
    /// A renderer at the beginning.
    pub fn new(options: LogOptions) -> Self {
        Self { left: options.limit_bytes, options, pending: Vec::new(), inside_line: false }
    }

    /// Whether everything that was asked for has been written.
    pub fn full(&self) -> bool {
        self.left == Some(0)
    }

    /// Takes a piece of the file as it comes; answers what to send.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(bytes);
        let mut output = Vec::with_capacity(bytes.len());
        let mut start = 0;
        let pending = std::mem::take(&mut self.pending);
        while let Some(length) = pending[start..].iter().position(|byte| *byte == b'\n') {
            self.line(&pending[start..start + length], &mut output);
            start += length + 1;
        }
        self.pending = pending[start..].to_vec();
        if let Some(left) = &mut self.left {
            output.truncate(*left);
            *left -= output.len();
        }
        output
    }

    fn line(&mut self, line: &[u8], output: &mut Vec<u8>) {
        let Some((time, stream, partial, text)) = parse(line) else {
            return;
        };
        if self.options.stream.is_some_and(|wanted| wanted.as_bytes() != stream) {
            return;
        }
        if let Some(since) = self.options.since {
            let parsed = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
            if parsed.is_none_or(|time| time < since) {
                return;
            }
        }
        if self.options.timestamps && !self.inside_line {
            output.extend_from_slice(time);
            output.push(b' ');
        }
        output.extend_from_slice(text);
        self.inside_line = partial;
        if !partial {
            output.push(b'\n');
        }
    }
}

type Parsed<'a> = (&'a [u8], &'a [u8], bool, &'a [u8]);

fn parse(line: &[u8]) -> Option<Parsed<'_>> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (fields.next()?, fields.next()?, fields.next()?);
    let partial = tag.split(|byte| *byte == b':').next() == Some(b"P");
    Some((time, stream, partial, fields.next().unwrap_or_default()))
}

/// Where in the file the last `lines` lines begin.
pub fn tail_offset(file: &mut File, lines: usize) -> io::Result<u64> {
    let mut position = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(position);
    }
    let mut seen = 0;
    let mut chunk = vec![0; CHUNK];
    let end = position;
    while position > 0 {
        let length = usize::try_from(position).unwrap_or(CHUNK).min(CHUNK);
        position -= length as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut chunk[..length])?;
        for index in (0..length).rev() {
            // The newline at the very end closes the last line and begins none.
            if chunk[index] == b'\n' && position + index as u64 + 1 != end {
                seen += 1;
                if seen == lines {
                    return Ok(position + index as u64 + 1);
                }
            }
        }
    }
    Ok(0)
}

/// The text of the last lines of a log, cut to `limit` bytes at its end.
pub fn last_lines(path: &Path, lines: usize, limit: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let offset = tail_offset(&mut file, lines)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut raw = Vec::new();
    file.read_to_end(&mut raw)?;
    let text = Renderer::new(LogOptions::default()).feed(&raw);
    Ok(String::from_utf8_lossy(&text[text.len().saturating_sub(limit)..]).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "2026-01-01T00:00:00.1Z stdout F one\n2026-01-01T00:00:01Z stderr P tw\n2026-01-01T00:00:01.5Z stderr F o\n2026-01-01T00:00:02Z stdout F \n";

    fn render(options: LogOptions) -> String {
        String::from_utf8(Renderer::new(options).feed(LOG.as_bytes())).unwrap()
    }

    #[test]
    fn partial_lines_are_joined() {
        assert_eq!(render(LogOptions::default()), "one\ntwo\n\n");
    }

    #[test]
    fn options_choose_and_mark() {
        let since = Some("2026-01-01T00:00:01Z".parse().unwrap());
        assert_eq!(render(LogOptions { since, ..LogOptions::default() }), "two\n\n");
        assert_eq!(render(LogOptions { stream: Some("stdout"), ..LogOptions::default() }), "one\n\n");
        assert_eq!(render(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }), "one\nt");
        assert!(
            render(LogOptions { timestamps: true, ..LogOptions::default() }).contains("\n2026-01-01T00:00:01Z two\n")
        );
    }

    #[test]
    fn pieces_may_end_anywhere() {
        let mut renderer = Renderer::new(LogOptions::default());
        let mut text = Vec::new();
        for byte in LOG.as_bytes() {
            text.extend(renderer.feed(std::slice::from_ref(byte)));
        }
        assert_eq!(text, b"one\ntwo\n\n");
    }

    #[test]
    fn the_tail_is_found_from_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        let lines: Vec<String> = (0..5000).map(|number| format!("t s F {number}\n")).collect();
        file.write_all(lines.concat().as_bytes()).unwrap();
        for count in [0, 1, 7, 4999, 5000, 6000] {
            let offset = tail_offset(&mut file, count).unwrap();
            let expected: usize = lines.iter().rev().take(count).map(String::len).sum();
            assert_eq!(lines.concat().len() as u64 - offset, expected as u64, "{count}");
        }
    }
}
