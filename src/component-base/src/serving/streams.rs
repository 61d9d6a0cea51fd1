//! Where the streams of an HTTP/2 connection run.
//!
//! A stream begins in the task of its connection: what can be answered at once is, without a task of its own, and goes
//! out with all other answers of that moment. A stream that has to wait gets a task, so that the work of many requests on
//! one connection is spread over all processors. A stream that [stays open](stay_open), as a watch does, comes back to
//! the connection for good: an event for a hundred watches then wakes one task, which lets all of them write and sends
//! what they wrote together.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use hyper::rt::Executor;

/// How often the streams and their connection take turns before others do.
const TURNS: usize = 4;

thread_local! {
    /// Whether the stream that is being polled has said that it stays open.
    static STAYS: Cell<bool> = const { Cell::new(false) };
}

/// Says, while the body of an answer is polled, that it waits most of the time and has little to do when it does not.
pub fn stay_open() {
    STAYS.set(true);
}

/// Waits for something after which little is left to do, so that the stream may go on in the task of its connection.
pub async fn stay_for<F: Future>(awaited: F) -> F::Output {
    let mut awaited = pin!(awaited);
    std::future::poll_fn(|context| {
        let step = awaited.as_mut().poll(context);
        if step.is_pending() {
            stay_open();
        }
        step
    })
    .await
}

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes in the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams(Arc<Shared>);

struct Shared {
    /// Streams on their way to the connection's task; none once it is over.
    arrived: Mutex<Option<Vec<Stream>>>,
    /// Rings for streams that can go on, and for those that have arrived.
    bell: Arc<Bell>,
}

impl Shared {
    fn arrived(&self) -> MutexGuard<'_, Option<Vec<Stream>>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a stream to the connection's task; one that comes after the end of the connection has nobody to answer.
    fn take_home(&self, stream: Stream) {
        let mut arrived = self.arrived();
        if let Some(arrived) = &mut *arrived {
            arrived.push(stream);
            return self.bell.wake_by_ref();
        }
        // What a stream does at its end must not wait for this lock.
        drop(arrived);
        drop(stream);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    /// Called by the connection while it is polled, which looks for what has arrived right after that.
    fn execute(&self, stream: F) {
        self.0.take_home(Box::pin(stream));
    }
}

/// A stream, wherever it runs.
struct Running {
    /// None once it has moved.
    stream: Option<Stream>,
    at_home: bool,
    /// Whether it belongs where it is.
    settled: bool,
    shared: Arc<Shared>,
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        if this.settled {
            return stream.as_mut().poll(context);
        }
        STAYS.set(false);
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let (stays, shared) = (STAYS.take(), &this.shared);
        if stays == this.at_home {
            this.settled = stays;
            return Poll::Pending;
        }
        // It is polled again where it goes, and leaves its waker there.
        let Some(stream) = this.stream.take() else { return Poll::Ready(()) };
        if stays {
            shared.take_home(stream);
        } else {
            let shared = Arc::clone(shared);
            tokio::spawn(Self { stream: Some(stream), at_home: false, settled: false, shared });
        }
        Poll::Ready(())
    }
}

/// Wakes the task of a connection, unless that is at work and looks whether it rang.
#[derive(Default)]
struct Bell {
    state: AtomicU8,
    task: AtomicWaker,
}

const AT_WORK: u8 = 1;
const RANG: u8 = 2;

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.fetch_or(RANG, Ordering::AcqRel) & AT_WORK == 0 {
            self.task.wake();
        }
    }
}

impl Bell {
    /// Forgets that it rang, because what it rings for is done next.
    fn hush(&self) {
        // Reads, too: what those did who rang before has to be seen by whoever looks next.
        let _rang = self.state.swap(AT_WORK, Ordering::AcqRel);
    }

    fn has_rung(&self) -> bool {
        self.state.load(Ordering::Acquire) & RANG != 0
    }

    /// Lets it wake the task from now on; at once if it has rung.
    fn rest(&self) {
        if self.state.swap(0, Ordering::AcqRel) & RANG != 0 {
            self.task.wake();
        }
    }
}

/// The streams that are in the task of their connection.
pub(super) struct Home {
    shared: Arc<Shared>,
    running: FuturesUnordered<Running>,
    streams: Arc<Bell>,
    connection: Arc<Bell>,
}

/// A connection's streams, and where they run.
pub(super) fn streams() -> (Streams, Home) {
    let streams = Arc::<Bell>::default();
    let shared = Arc::new(Shared { arrived: Mutex::new(Some(Vec::new())), bell: Arc::clone(&streams) });
    let home =
        Home { shared: Arc::clone(&shared), running: FuturesUnordered::new(), streams, connection: Arc::default() };
    (Streams(shared), home)
}

impl Home {
    /// Drives a connection and the streams that are at home to the connection's end.
    pub(super) async fn drive<C: Future>(mut self, connection: C) -> C::Output {
        let mut connection = pin!(connection);
        let waker = Waker::from(Arc::clone(&self.connection));
        std::future::poll_fn(|context| {
            self.streams.task.register(context.waker());
            self.connection.task.register(context.waker());
            for _ in 0..TURNS {
                self.advance();
                self.connection.hush();
                if let Poll::Ready(output) = connection.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(output);
                }
                if !self.streams.has_rung() && !self.connection.has_rung() {
                    break;
                }
            }
            self.streams.rest();
            self.connection.rest();
            Poll::Pending
        })
        .await
    }

    /// Lets all streams go on that can.
    fn advance(&mut self) {
        let waker = Waker::from(Arc::clone(&self.streams));
        let mut context = Context::from_waker(&waker);
        // Some wake themselves while they write, and the set rests after a few of those.
        let mut rounds = 0;
        while rounds <= self.running.len() {
            rounds += 1;
            self.streams.hush();
            let arrived = self.shared.arrived().as_mut().map(std::mem::take);
            for stream in arrived.into_iter().flatten() {
                let shared = Arc::clone(&self.shared);
                self.running.push(Running { stream: Some(stream), at_home: true, settled: false, shared });
            }
            let all = std::future::poll_fn(|context| {
                while let Poll::Ready(Some(())) = self.running.poll_next_unpin(context) {}
                Poll::Ready(())
            });
            // However many streams there are, the connection must have its turn.
            let _ = pin!(tokio::task::unconstrained(all)).poll(&mut context);
            if !self.streams.has_rung() {
                break;
            }
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let arrived = self.shared.arrived().take();
        drop(arrived);
    }
}

#[cfg(test)]
mod tests;
