//! The [`Board`] on a terminal, painted again when something is told and every second while something runs.

use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console::Term;

use super::board::Board;
use super::{Progress, StepEvent};

/// Elapsed times are shown in seconds.
const TICK: Duration = Duration::from_secs(1);
/// Many machines tell much at once; no eye sees more pictures than this.
const LEAST_PAUSE: Duration = Duration::from_millis(60);

/// For a person who watches.
pub(super) struct Terminal {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    told: Condvar,
}

struct State {
    board: Board,
    /// Something was told that is not painted yet.
    news: bool,
    /// Lines of the picture on the terminal.
    painted: usize,
    /// A thread paints, as long as nobody closes the picture.
    painting: bool,
    /// How many pictures were closed: a thread paints one picture only.
    closed: usize,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let state = State { board: Board::new(Instant::now()), news: false, painted: 0, painting: false, closed: 0 };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), told: Condvar::new() }) }
    }

    fn tell(&self, change: impl FnOnce(&mut Board)) {
        let mut state = self.shared.lock();
        change(&mut state.board);
        state.news = true;
        if !state.painting {
            state.painting = true;
            let (shared, picture) = (Arc::clone(&self.shared), state.closed);
            // Without a thread there is no picture, and the run goes on.
            let started = std::thread::Builder::new().name("progress".to_owned()).spawn(move || shared.paint(picture));
            state.painting = started.is_ok();
        }
        self.shared.told.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Paints until the picture is closed.
    fn paint(&self, picture: usize) {
        let mut state = self.lock();
        while state.closed == picture {
            if state.news || state.board.is_moving() {
                state.paint();
            }
            drop(state);
            std::thread::sleep(LEAST_PAUSE);
            state = self.lock();
            if !state.news && state.closed == picture {
                state = if state.board.is_moving() {
                    match self.told.wait_timeout(state, TICK) {
                        Ok((state, _)) => state,
                        Err(poisoned) => poisoned.into_inner().0,
                    }
                } else {
                    self.told.wait(state).unwrap_or_else(PoisonError::into_inner)
                };
            }
        }
    }
}

impl State {
    /// Puts the picture over the one before.
    fn paint(&mut self) {
        let terminal = Term::stderr();
        let (rows, columns) = terminal.size();
        let picture = self.board.render(Instant::now(), rows.into(), columns.into());
        let mut text = String::new();
        if self.painted > 0 {
            let _ = write!(text, "\x1b[{}A", self.painted);
        }
        for line in &picture {
            let _ = write!(text, "\r\x1b[2K{line}\n");
        }
        text.push_str("\x1b[J");
        // A terminal that has gone away does not stop the run.
        let _ = terminal.write_str(&text);
        self.painted = picture.len();
        self.news = false;
    }
}

impl Progress for Terminal {
    fn plan(&self, steps: usize) {
        self.tell(|board| board.plan(steps));
    }

    fn step(&self, event: &StepEvent<'_>) {
        self.tell(|board| board.step(event, Instant::now()));
    }

    fn detail(&self, subject: &str, detail: &str) {
        self.tell(|board| board.detail(subject, detail, Instant::now()));
    }

    /// The last picture stays; what is told later begins a new one below it.
    fn close(&self) {
        let mut state = self.shared.lock();
        if state.news {
            state.paint();
        }
        (state.painting, state.painted) = (false, 0);
        state.closed += 1;
        self.shared.told.notify_all();
    }
}
