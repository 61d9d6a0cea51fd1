//! Connections that carry many streams and write once for all that is ready, not once for each frame.
//!
//! HTTP/2 flushes after every frame of data, and every flush is a TLS record and a system call. A [`Corked`] stream only
//! collects small writes; its connection, driven inside [`Uncorking`], lets them out together whenever it has nothing
//! more to do at once. Only for connections that never hand their stream to somebody else.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Collected up to this size; a larger write goes out at once.
const FULL: usize = 64 * 1024;
/// From this size on a write is worth its own system call.
const LARGE: usize = 8 * 1024;

thread_local! {
    /// A buffer for the next connection that has something to write. Those at rest have none: they are many, and one that
    /// is written to all the time must not ask for new memory each time.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream that holds back small writes.
pub(super) struct Corked<S>(Arc<Mutex<State<S>>>);

/// What is behind a [`Corked`] stream, for the connection that lets it out.
pub(super) struct Cork<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    stream: S,
    held: Vec<u8>,
    /// How much of `held` has gone out.
    gone: usize,
}

/// Corks a stream.
pub(super) fn cork<S>(stream: S) -> (Corked<S>, Cork<S>) {
    let state = Arc::new(Mutex::new(State { stream, held: Vec::new(), gone: 0 }));
    (Corked(Arc::clone(&state)), Cork(state))
}

fn locked<S>(state: &Mutex<State<S>>) -> MutexGuard<'_, State<S>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> State<S> {
    /// Lets out what is held.
    fn let_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.gone < self.held.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held[self.gone..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += written;
        }
        self.gone = 0;
        self.held.clear();
        if self.held.capacity() > 0 {
            SPARE.set(std::mem::take(&mut self.held));
        }
        Poll::Ready(Ok(()))
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.let_out(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn write(&mut self, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if self.held.len() + size > FULL || size >= LARGE {
            ready!(self.let_out(context))?;
        }
        if size >= LARGE {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        if self.held.capacity() == 0 {
            self.held = SPARE.take();
        }
        for part in parts {
            self.held.extend_from_slice(part);
        }
        Poll::Ready(Ok(size))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut locked(&self.0).stream).poll_read(context, room)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        locked(&self.0).write(context, &[io::IoSlice::new(part)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        locked(&self.0).write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Only says so: the connection's own task flushes when it comes to rest.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = locked(&self.0);
        ready!(state.flush(context))?;
        Pin::new(&mut state.stream).poll_shutdown(context)
    }
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    /// Drives a connection over the corked stream to its end, and lets out what it wrote whenever it rests.
    pub(super) async fn drive<C: Future>(self, connection: C) -> C::Output {
        let mut connection = pin!(connection);
        let ended = std::future::poll_fn(|context| {
            let step = connection.as_mut().poll(context);
            // A stream that fails says so at the next read, too.
            let _ = locked(&self.0).flush(context);
            step
        })
        .await;
        let _ = std::future::poll_fn(|context| locked(&self.0).flush(context)).await;
        ended
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What came out of each write that reached the stream.
    #[derive(Default)]
    struct Wire {
        writes: Vec<usize>,
        bytes: Vec<u8>,
        /// Refuses every other write for now.
        slow: bool,
        ready: bool,
    }

    impl AsyncWrite for Wire {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
            self.ready = !self.ready;
            if self.slow && self.ready {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = if self.slow { part.len().div_ceil(2) } else { part.len() };
            self.writes.push(taken);
            self.bytes.extend_from_slice(&part[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn write_frames(mut stream: Corked<Wire>, sizes: &[usize]) -> Corked<Wire> {
        for (index, size) in sizes.iter().enumerate() {
            stream.write_all(&vec![u8::try_from(index % 251).unwrap(); *size]).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream
    }

    fn expected(sizes: &[usize]) -> Vec<u8> {
        let frame = |(index, size): (usize, &usize)| vec![u8::try_from(index % 251).unwrap(); *size];
        sizes.iter().enumerate().flat_map(frame).collect()
    }

    #[tokio::test]
    async fn small_frames_go_out_together_when_the_connection_rests() {
        let (stream, cork) = cork(Wire::default());
        let sizes = [100; 50];
        let stream = cork.drive(write_frames(stream, &sizes)).await;
        let wire = locked(&stream.0);
        assert_eq!(wire.stream.writes, [5000]);
        assert_eq!(wire.stream.bytes, expected(&sizes));
    }

    #[tokio::test]
    async fn every_byte_arrives_in_order_whatever_the_sizes_and_however_slow_the_wire() {
        let sizes: Vec<usize> = (0..400).map(|n| [1, 9, 1300, 9000, 70_000, 16][n % 6] + n).collect();
        for slow in [false, true] {
            let (stream, cork) = cork(Wire { slow, ..Wire::default() });
            let stream = cork.drive(write_frames(stream, &sizes)).await;
            let state = locked(&stream.0);
            assert!(state.stream.bytes == expected(&sizes), "slow: {slow}");
            assert_eq!(state.held.capacity(), 0, "a connection at rest keeps no buffer");
        }
    }

    #[tokio::test]
    async fn what_is_held_goes_out_before_the_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut stream, cork) = cork(near);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        });
        cork.drive(async move {
            stream.write_all(&[7; 1000]).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        assert_eq!(reading.await.unwrap(), [7; 1000]);
    }
}
